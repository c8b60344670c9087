"""Snapshots of a program that writes as fast as it can, by the real executor: each is the state of one moment."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from executor.contract import ExecutorFault, FaultReason
from executor.layout import snapshot_tree
from tests.agent.journals import assert_one_moment
from tests.agent.mapping_program import NAME, WRITTEN
from tests.agent.running import FREEZERS, GENTLE, JOURNAL, MAPPING, running
from tests.executor.conftest import MakeSite, make_site
from tests.executor.scene import Site
from tests.servers import JuiceFSVolume
from tests.waiting import eventually
from wvs_agent.config import FreezerKind

__all__ = ["make_site"]

SNAPSHOTS = int(os.environ.get("WVS_SNAPSHOTS", "3"))


@pytest.fixture(
    params=[
        "directory",
        pytest.param("one mount", marks=pytest.mark.fuse),
        pytest.param("two mounts", marks=pytest.mark.fuse),
    ]
)
def where(request: pytest.FixtureRequest) -> str:
    """An ordinary directory, JuiceFS, or JuiceFS with the agent on a mount of its own with default caches."""
    name: str = request.param
    return name


@pytest.fixture
def driver(where: str) -> str:
    return "copy" if where == "directory" else "juicefs"


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """With patience for a machine that has other work to do."""
    return make_site(quiesce_timeout=60.0, freeze_lease=20.0)


@pytest.fixture
def agent_root(site: Site, where: str, request: pytest.FixtureRequest) -> Path:
    """The workspace as the agent sees it."""
    if where != "two mounts":
        return site.ws.root
    volume: JuiceFSVolume = request.getfixturevalue("juicefs_volume")
    other: Path = request.getfixturevalue("agent_mount")
    return other / site.ws.root.relative_to(volume.mount)


def writes(tree: Path) -> None:
    """Until every journal of the tree is there, and grows."""
    eventually(lambda: (tree / "pair-3-second").exists() and (tree / "ring-3").exists(), "all journals")
    before = (tree / "ring-3").read_bytes()
    eventually(lambda: (tree / "ring-3").read_bytes() != before, "the ring goes round")


@pytest.mark.rule("§8")
@pytest.mark.rule("RK-02")
@pytest.mark.rule("H1")
@pytest.mark.timeout(120 + 20 * SNAPSHOTS)
@pytest.mark.parametrize("kind", FREEZERS)
def test_each_snapshot_under_full_write_load_is_the_state_of_one_moment(
    site: Site, agent_root: Path, where: str, kind: FreezerKind
) -> None:
    tree = site.init()
    asked: list[float] = []
    still: list[float] = []
    totals: list[int] = []
    with running(agent_root, JOURNAL, kind=kind) as run:
        assert run.hear() == "started"
        for _ in range(SNAPSHOTS):
            writes(agent_root / tree.relative_to(site.ws.root))
            request = site.create_request()
            outcome = site.run(request)  # QUIESCE_VIOLATED, or any other fault, ends the test here
            assert outcome.agent is not None
            assert outcome.agent.attached
            assert outcome.agent.resumed
            asked.append(outcome.agent.wait_seconds)
            still.append(outcome.agent.freeze_seconds)
            totals.append(assert_one_moment(snapshot_tree(site.ws.snapshot(request.snapshot_id))))
        run.child.terminate()
        run.wait()
    assert totals == sorted(set(totals)), "each snapshot is of a later moment"
    sys.stdout.write(
        f"{SNAPSHOTS} snapshots, {where}, {kind}: {totals[-1]} records, "
        f"request to ack {told(asked)}, standstill {told(still)}\n"
    )


def told(seconds: list[float]) -> str:
    """The middle and the longest, in ms."""
    return f"p50 {statistics.median(seconds) * 1000:.0f} max {max(seconds) * 1000:.0f} ms"


@pytest.mark.rule("§8")
@pytest.mark.rule("H1")
def test_what_a_child_wrote_through_a_mapping_of_a_closed_file_is_in_the_snapshot(site: Site, agent_root: Path) -> None:
    site.init()
    with running(agent_root, MAPPING) as run:
        assert run.hear() == "written"
        assert (site.snapshot_tree(site.snapshot()) / NAME).read_bytes() == WRITTEN


@pytest.mark.rule("§8")
@pytest.mark.rule("H7")
def test_a_switch_starts_the_command_again_in_the_new_tree(site: Site, agent_root: Path) -> None:
    site.init()
    with running(agent_root, GENTLE) as run:
        assert run.hear() == "started"
        writes(site.tree)
        snapshot = site.snapshot()
        old = {each.key for each in run.command()}
        outcome = site.run(site.switch_request(snapshot))
        assert outcome.agent is not None
        assert outcome.agent.resumed
        assert run.hear() == "started"
        writes(site.tree)
        now = {each.key for each in run.command()}
        assert len(now) == 4
        assert not now & old
        assert_one_moment(site.snapshot_tree(site.snapshot()))
        places = {str(Path(f"/proc/{pid}/cwd").readlink()) for pid, _ in now}
        assert places == {str(agent_root / site.tree.relative_to(site.ws.root))}
        # All that was open in the old tree had ended when the answer was given.
        assert outcome.agent.old_handles == ()


@pytest.mark.rule("§8")
@pytest.mark.rule("H7")
def test_a_switch_may_be_told_by_a_signal_and_what_is_open_in_the_old_tree_is_reported(
    site: Site, agent_root: Path
) -> None:
    site.init()
    script = "trap 'echo switched' USR1; exec 7>open; echo started; while :; do sleep 0.1; done"
    with running(agent_root, ["sh", "-c", script], "--on-switch", "signal", "--signal", "usr1") as run:
        assert run.hear() == "started"
        outcome = site.run(site.switch_request(site.snapshot()))
        assert run.hear() == "switched"
        assert outcome.agent is not None
        handles = [text.partition(" ")[2].partition(" ")[2] for text in outcome.agent.old_handles]
        assert {"cwd live/initial", "fd 7 live/initial/open"} <= set(handles)
        assert run.child.poll() is None


@pytest.mark.rule("§8")
def test_a_command_that_refuses_a_switch_is_snapshotted_and_not_switched(site: Site, agent_root: Path) -> None:
    site.init()
    with running(agent_root, GENTLE, "--on-switch", "refuse", stderr=subprocess.PIPE) as run:
        assert run.hear() == "started"
        writes(site.tree)
        snapshot = site.snapshot()
        before = {each.key for each in run.command()}
        with pytest.raises(ExecutorFault) as caught:
            site.switch_to(snapshot)
        assert caught.value.reason is FaultReason.QUIESCE_TIMEOUT
        assert "refused" in str(caught.value)
        assert site.live_id == "initial"
        assert {each.key for each in run.command()} == before
        writes(site.tree)
        site.snapshot()
        run.child.terminate()
        run.wait()
        assert "--on-switch refuse lets no switch happen" in run.complaints()

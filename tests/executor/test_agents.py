"""The operations and the agent: no clone without an ack, no snapshot of a moving tree, a short standstill (SPEC §8).

The freeze itself has tests of its own; here it is seen from what the operations make of it.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executor import failpoints
from executor.contract import ExecutorFault, FaultReason, OperationName, Progress
from executor.layout import snapshot_tree
from tests.agent.scene import HandAgent, control_of
from tests.executor.conftest import MakeSite
from tests.executor.scene import LIMIT, Site
from tests.executor.trees import plant_small, portrait
from wvs_agent import QuiesceWatcher
from wvs_agent.protocol import AgentState, ControlState


def fault_of(call: Callable[[], object]) -> ExecutorFault:
    with pytest.raises(ExecutorFault) as caught:
        call()
    return caught.value


class Agent:
    """An attached agent that stands still when asked, and remembers what it was told."""

    def __init__(self) -> None:
        self._heard: queue.Queue[str] = queue.Queue()

    @contextmanager
    def attached(self, site: Site) -> Iterator[None]:
        with QuiesceWatcher(site.ws.root, lambda: self._heard.put("freeze"), self._heard.put):
            yield

    def was_told(self) -> list[str]:
        """Each freeze, and the `current` of each resume, up to the resume of the last freeze."""
        told: list[str] = []
        while not self._heard.empty() or (told and told[-1] == "freeze"):
            told.append(self._heard.get(timeout=LIMIT))
        return told


@pytest.fixture
def planted(site: Site) -> Site:
    """An initialised workspace with a small project in it."""
    plant_small(site.init())
    return site


def write_unseen(tree: Path) -> None:
    """Other bytes of the same number, and the old mtime: only ctime tells."""
    path = tree / "data.bin"
    times = path.stat()
    with path.open("r+b") as file:
        file.write(b"\xee" * 64)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def swap_unseen(tree: Path) -> None:
    """Another file of the same name, size, mode and mtime: only the inode tells, and ctime."""
    path, other = tree / "run.sh", tree / "other"
    other.write_bytes(b"\xee" * path.stat().st_size)
    other.chmod(0o755)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)


def retarget(tree: Path) -> None:
    (tree / "to-src").unlink()
    (tree / "to-src").symlink_to("empty")


def append(tree: Path) -> None:
    with (tree / "data.bin").open("ab") as file:
        file.write(b"x")


def rename(tree: Path) -> None:
    (tree / "src").rename(tree / "source")


WRITES: dict[str, Callable[[Path], None]] = {
    "append": append,
    "create": lambda tree: (tree / "empty" / "new").touch(),
    "delete": lambda tree: (tree / "src" / "main.py").unlink(),
    "rename": rename,
    "chmod": lambda tree: (tree / "empty").chmod(0o711),
    "retarget": retarget,
    "unseen write": write_unseen,
    "unseen swap": swap_unseen,
}


@pytest.mark.rule("RK-02")
@pytest.mark.rule("RK-03")
@pytest.mark.parametrize("name", WRITES)
def test_an_agent_that_says_frozen_and_writes_on_gets_no_snapshot(planted: Site, name: str) -> None:
    site, agent = planted, Agent()
    failpoints.arm("create.cloned", lambda: WRITES[name](site.tree))
    with agent.attached(site):
        fault = fault_of(site.snapshot)
    assert fault.reason is FaultReason.QUIESCE_VIOLATED
    assert not fault.permanent
    assert site.snapshots == site.staged == []
    assert agent.was_told() == ["freeze", "live/initial"]


@pytest.mark.rule("RK-03")
def test_a_clone_that_is_not_what_was_frozen_is_never_published(planted: Site) -> None:
    site = planted

    def spoil() -> None:
        (staging,) = site.ws.staging_dir.iterdir()
        append(snapshot_tree(staging / "snapshot"))

    failpoints.arm("create.resumed", spoil)
    assert fault_of(site.snapshot).reason is FaultReason.QUIESCE_VIOLATED
    assert site.snapshots == site.staged == []


def test_without_the_proof_a_write_goes_unnoticed_and_the_snapshot_is_made(make_site: MakeSite) -> None:
    site = make_site(verify_quiet="off")
    plant_small(site.init())
    failpoints.arm("create.cloned", lambda: append(site.tree))
    snapshot = site.snapshot()
    assert site.snapshots == [snapshot]


def test_a_wrong_clone_never_becomes_current(planted: Site) -> None:
    site = planted
    snapshot = site.snapshot()

    def spoil() -> None:
        (staging,) = site.ws.staging_dir.iterdir()
        (staging / "live" / "run.sh").chmod(0o644)

    failpoints.arm("set_current.copied", spoil)
    assert fault_of(lambda: site.switch_to(snapshot)).reason is FaultReason.CLONE_FAILED
    assert (site.lives, site.live_id, site.staged) == (["initial"], "initial", [])


def test_a_published_tree_that_was_changed_since_is_made_anew_by_the_retry(planted: Site) -> None:
    site = planted
    snapshot = site.snapshot()
    first = site.switch_request(snapshot)
    with site.start(first, "set_current.published=kill") as process:
        process.wait(LIMIT)
    (name,) = set(site.lives) - {"initial"}
    (site.ws.live(name) / "run.sh").write_text("wrong")
    site.run(site.again(first))
    assert site.live_id == name
    assert portrait(site.tree) == portrait(site.snapshot_tree(snapshot))
    assert site.staged == []


@pytest.mark.rule("G2")
def test_a_hung_agent_is_never_cloned_attempt_after_attempt_and_is_thawed(make_site: MakeSite) -> None:
    site = make_site(quiesce_timeout=0.2)
    plant_small(site.init())
    snapshot = site.snapshot()
    cloned: list[str] = []
    failpoints.arm("create.cloned", lambda: cloned.append("create"))
    failpoints.arm("set_current.frozen", lambda: cloned.append("set_current"))
    hung = HandAgent(site.ws)
    try:
        for request in [site.create_request(), site.switch_request(snapshot)] * 2:
            fault = fault_of(lambda: site.run(site.again(request)))  # noqa: B023 — called at once
            assert fault.reason is FaultReason.QUIESCE_TIMEOUT
            assert not fault.permanent
            assert control_of(site.ws).state is ControlState.REQUEST_RESUME
    finally:
        hung.close()
    assert cloned == []
    assert (site.snapshots, site.lives, site.staged) == ([snapshot], ["initial"], [])


def test_the_agent_runs_while_a_switch_clones_and_stands_still_for_the_switch_alone(planted: Site) -> None:
    site, agent = planted, Agent()
    snapshot = site.snapshot()
    told_before_the_clone_was_there: list[list[str]] = []
    failpoints.arm("set_current.cloned", lambda: told_before_the_clone_was_there.append(agent.was_told()))
    with agent.attached(site):
        request = site.switch_request(snapshot)
        outcome = site.run(request)
        assert told_before_the_clone_was_there == [[]]
        assert agent.was_told() == ["freeze", f"live/{outcome.live_id}"]
    assert outcome.agent is not None
    assert outcome.agent.attached
    assert outcome.agent.resumed
    assert outcome.agent.current_seen == f"live/{outcome.live_id}"


def test_an_agent_whose_ack_is_over_is_not_switched(planted: Site) -> None:
    """It thawed by itself, or another came: nothing is published."""
    site = planted
    snapshot = site.snapshot()
    agent = HandAgent(site.ws)
    failpoints.arm("set_current.published", lambda: agent.say(AgentState.RUNNING, control_of(site.ws).nonce))
    obeying = agent.obey()
    try:
        assert fault_of(lambda: site.switch_to(snapshot)).reason is FaultReason.QUIESCE_EXPIRED
        obeying.join(LIMIT)
    finally:
        agent.close()
    assert (site.lives, site.live_id, site.staged) == (["initial"], "initial", [])


def test_an_agent_whose_ack_is_over_gets_no_snapshot(planted: Site) -> None:
    site = planted
    agent = HandAgent(site.ws)
    failpoints.arm("create.cloned", lambda: agent.say(AgentState.RUNNING, control_of(site.ws).nonce))
    obeying = agent.obey()
    try:
        assert fault_of(site.snapshot).reason is FaultReason.QUIESCE_EXPIRED
        obeying.join(LIMIT)
    finally:
        agent.close()
    assert site.snapshots == site.staged == []


def test_the_old_tree_stays_after_a_switch(planted: Site) -> None:
    site = planted
    old = portrait(site.tree)
    new = site.switch_to(site.snapshot())
    assert new != site.ws.live("initial")
    assert portrait(site.ws.live("initial")) == old


def test_every_operation_that_was_done_is_found_done(planted: Site) -> None:
    site = planted
    create = site.create_request()
    made = site.run(create)
    assert create.snapshot_id is not None
    switch = site.switch_request(create.snapshot_id)
    site.run(switch)
    other = site.snapshot()
    drop = site.drop_request(other)
    site.run(drop)
    for request in (create, switch, drop):
        probed = site.probe(site.again(request))
        assert probed is not None
        assert probed.already_done
        repeated = site.run(site.again(request))
        assert repeated.already_done
        assert (repeated.entries, repeated.bytes) in ((made.entries, made.bytes), (None, None))
    assert site.snapshots == [create.snapshot_id]
    assert len(site.lives) == 2


@pytest.mark.parametrize("op", [OperationName.SNAPSHOT_CREATE, OperationName.SET_CURRENT])
def test_that_an_agent_stands_still_is_told_from_its_answer_to_its_release(planted: Site, op: OperationName) -> None:
    site, agent = planted, Agent()
    request = site.create_request() if op is OperationName.SNAPSHOT_CREATE else site.switch_request(site.snapshot())
    told: list[Progress] = []
    with agent.attached(site):
        site.run(request, progress=told.append)
    phases = [progress.phase for progress in told]
    asked, stood, gone_on = (phases.index(phase) for phase in ("quiesce", "freeze", "resume"))
    assert asked + 1 == stood
    assert [progress.frozen for progress in told] == [stood <= place < gone_on for place in range(len(told))]


def test_who_is_not_attached_does_not_stand_still(planted: Site) -> None:
    told: list[Progress] = []
    planted.run(planted.create_request(), progress=told.append)
    assert not any(progress.frozen for progress in told)

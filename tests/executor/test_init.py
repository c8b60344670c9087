"""init_workspace: complete or not there, whoever came before (SPEC §2, §7; RK-07)."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from executor import contract, failpoints
from executor.contract import ExecutorFault, FaultReason, Outcome, Stopped, StopReason, StopSignal
from tests.executor.conftest import MakeSite
from tests.executor.scene import LIMIT, Site
from tests.executor.trees import plant_small, portrait
from wvs_agent import protocol
from wvs_agent.protocol import ControlState


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.rule("RK-07")
def test_init_makes_everything_of_the_layout_with_its_modes_whatever_the_umask(site: Site) -> None:
    before = os.umask(0o077)
    try:
        outcome = site.run(site.init_request())
    finally:
        os.umask(before)
    ws = site.ws
    assert outcome.live_id == contract.INITIAL_LIVE_ID
    assert str(ws.current.readlink()) == "live/initial"
    modes = {ws.root: 0o755, ws.wvs: 0o755, ws.agent_lock: 0o666, ws.lock: 0o600, ws.fence: 0o600, ws.fence_lock: 0o600}
    modes |= {ws.staging_dir: 0o700, ws.agent_dir: 0o755, ws.live("initial"): 0o755, ws.control: 0o644}
    assert {path: mode_of(path) for path in modes} == modes
    control = protocol.read_control(ws.control)
    assert control is not None
    assert (control.state, control.current) == (ControlState.RUNNING, "live/initial")
    site.assert_whole()
    assert site.staged == []


@pytest.mark.rule("RK-07")
@pytest.mark.root
def test_the_first_tree_and_the_agents_directory_belong_to_the_agent_and_nothing_else_does(make_site: MakeSite) -> None:
    site = make_site(agent_uid=4242, agent_gid=4343)
    site.init()
    agents = {site.ws.live("initial"), site.ws.agent_dir}
    for path in [site.ws.root, *site.ws.root.rglob("*")]:
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == ((4242, 4343) if path in agents else (0, 0)), path


@pytest.mark.rule("RK-07")
def test_a_second_init_finds_the_workspace_done_and_touches_nothing(site: Site) -> None:
    first = site.init_request()
    site.run(first)
    plant_small(site.tree)
    before = portrait(site.ws.live_dir)
    again = site.run(site.again(first))
    assert again.already_done
    assert portrait(site.ws.live_dir) == before


@pytest.mark.rule("RK-07")
def test_a_late_init_never_points_a_workspace_back_at_its_first_tree(site: Site) -> None:
    first = site.init_request()
    site.run(first)
    site.switch_to(site.snapshot())
    switched = site.live_id
    assert site.run(site.again(first)).already_done
    assert site.live_id == switched


@pytest.mark.rule("RK-07")
@pytest.mark.parametrize("kind", ["directory", "file", "symlink", "dangling", "hidden"])
def test_a_foreign_thing_in_the_workspaces_place_is_refused_and_left_alone(
    site: Site, tmp_path: Path, kind: str
) -> None:
    root = site.ws.root
    if kind == "file":
        root.write_text("foreign")
    elif kind in ("symlink", "dangling"):
        root.symlink_to(tmp_path if kind == "symlink" else tmp_path / "nowhere")
    else:
        root.mkdir()
        (root / (".hidden" if kind == "hidden" else "somebody's")).write_text("foreign")
    before = portrait(root) if root.is_dir() else {}
    for call in (site.run, site.probe):
        with pytest.raises(ExecutorFault) as caught:
            call(site.init_request())
        assert caught.value.reason is FaultReason.UNSAFE_PATH
        assert caught.value.permanent
    assert (portrait(root) if root.is_dir() else {}) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.rule("RK-07")
def test_an_empty_directory_in_the_workspaces_place_is_taken(site: Site) -> None:
    site.ws.root.mkdir(mode=0o700)
    site.init()
    assert mode_of(site.ws.root) == 0o755


@pytest.mark.rule("RK-07")
def test_a_part_of_another_kind_is_refused(site: Site) -> None:
    site.init()
    site.ws.current.unlink()
    site.ws.agent_lock.unlink()
    site.ws.agent_lock.mkdir()
    with pytest.raises(ExecutorFault) as caught:
        site.run(site.init_request())
    assert caught.value.reason is FaultReason.UNSAFE_PATH


@pytest.mark.rule("RK-07")
def test_of_two_concurrent_attempts_the_newer_wins_and_the_workspace_is_whole(site: Site) -> None:
    first = site.init_request()
    second = site.again(first)
    built, go = threading.Event(), threading.Event()

    def pause_once() -> None:
        if not built.is_set():
            built.set()
            assert go.wait(LIMIT)

    failpoints.arm("init.built", pause_once)
    outcomes: dict[str, Outcome | ExecutorFault] = {}

    def attempt(name: str, number: int) -> None:
        try:
            outcomes[name] = site.run((first, second)[number])
        except ExecutorFault as fault:
            outcomes[name] = fault

    older = threading.Thread(target=attempt, args=("older", 0))
    older.start()
    assert built.wait(LIMIT)
    newer = threading.Thread(target=attempt, args=("newer", 1))
    newer.start()
    while int(site.ws.fence.read_text() or 0) < second.fence:
        assert newer.is_alive()
    go.set()
    older.join(LIMIT)
    newer.join(LIMIT)
    stale, done = outcomes["older"], outcomes["newer"]
    assert isinstance(stale, ExecutorFault)
    assert stale.reason is FaultReason.FENCED
    assert isinstance(done, Outcome)
    site.assert_whole()
    assert site.staged == []


@pytest.mark.rule("G14")
def test_a_stop_before_the_first_part_is_placed_leaves_nothing_but_the_ground(site: Site, stop: StopSignal) -> None:
    failpoints.arm("init.built", lambda: stop.stop(StopReason.CANCELED))
    with pytest.raises(Stopped):
        site.run(site.init_request(), stop)
    assert not os.path.lexists(site.ws.current)
    assert not site.ws.live_dir.exists()
    assert site.staged == []
    site.init()
    site.assert_whole()

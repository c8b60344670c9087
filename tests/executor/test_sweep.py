"""What is left over goes, under a fence, and nothing that is needed does (SPEC §7, §9; RK-04, G20)."""

from __future__ import annotations

import contextlib
import fcntl
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor import failpoints, fence
from executor.contract import ExecuteTask, ExecutorFault, FaultReason, Stopped, StopReason, StopSignal
from executor.upkeep import SweepRequest, Swept
from tests.executor.calls import Call, refusal
from tests.executor.conftest import SMALL_VOLUME_ENTRIES
from tests.executor.scene import LIMIT, Site, new_snapshot_id
from tests.executor.trees import plant_small, portrait
from tests.waiting import eventually
from wvs_agent import QuiesceWatcher, protocol
from wvs_agent.protocol import ControlState


@pytest.mark.rule("G20")
def test_old_trees_go_and_the_current_one_stays_whatever_is_asked(site: Site, old: str) -> None:
    current, before = site.live_id, portrait(site.tree)
    swept = site.sweep(live=("initial", current, old))
    assert swept.moved == ("live/initial", f"live/{old}")
    assert dict(swept.kept) == {f"live/{current}": "current points at it"}
    assert site.lives == [current]
    assert len(site.staged) == 2
    purged = site.purge()
    assert len(purged.deleted) == 2
    assert not purged.left
    assert site.staged == []
    assert portrait(site.tree) == before
    site.assert_whole()
    site.snapshot()


@pytest.mark.rule("RK-04")
def test_directories_of_dropped_snapshots_go_and_others_stay(site: Site) -> None:
    plant_small(site.init())
    dropped, kept = site.snapshot(), site.snapshot()
    before = portrait(site.ws.snapshot(kept))
    assert site.sweep(snapshots=(dropped, new_snapshot_id())).moved == (f"snapshots/{dropped}",)
    assert site.snapshots == [kept]
    site.purge()
    assert site.staged == []
    assert portrait(site.ws.snapshot(kept)) == before
    assert site.sweep(snapshots=(dropped,)) == Swept()


@pytest.mark.rule("RK-04")
def test_a_request_that_a_dead_executor_left_is_taken_back_and_only_then(site: Site) -> None:
    site.switch_to((site.init(), site.snapshot())[1])
    left = site.ask_freeze()
    assert not site.sweep().thawed
    assert site.inventory().freeze_asked
    assert site.sweep(thaw=True).thawed
    found = protocol.read_control(site.ws.control)
    assert found is not None
    assert (found.state, found.nonce) == (ControlState.REQUEST_RESUME, left.nonce)
    assert found.current == f"live/{site.live_id}"
    assert found.fence == site.seen_fence
    text = site.ws.control.read_bytes()
    assert not site.sweep(thaw=True).thawed
    assert site.ws.control.read_bytes() == text
    site.assert_whole()


@pytest.mark.rule("RK-04")
def test_an_agent_that_a_killed_executor_left_frozen_goes_on(site: Site) -> None:
    plant_small(site.init())
    heard: list[str] = []
    with QuiesceWatcher(site.ws.root, lambda: heard.append("freeze"), heard.append):
        # The lease is longer than anyone waits here.
        with site.start(site.create_request(), "create.frozen=kill", EXECUTOR_FREEZE_LEASE="60s") as process:
            assert process.wait(LIMIT) == -signal.SIGKILL
        assert heard == ["freeze"]
        assert site.sweep(thaw=True).thawed
        eventually(lambda: heard == ["freeze", "live/initial"], "the agent goes on")
    site.purge()
    assert site.staged == []


def a_create(site: Site, _: str) -> ExecuteTask:
    return site.create_request()


@pytest.mark.rule("G9")
@pytest.mark.rule("RK-04")
@pytest.mark.parametrize(
    ("ask", "point"),
    [(a_create, "create.cloned"), (a_create, "create.described"), (Site.switch_request, "set_current.published")],
)
def test_an_attempt_that_a_sweep_overtook_publishes_nothing(
    site: Site, tmp_path: Path, ask: Callable[[Site, str], ExecuteTask], point: str
) -> None:
    plant_small(site.init())
    snapshot, go = site.snapshot(), tmp_path / "go"
    zombie = ask(site, snapshot)
    with site.start(zombie, f"{point}=pause:{go}") as process:
        eventually(lambda: site.staged, "the attempt is at work")
        request = site.sweep_request()
        call = Call(lambda: site.executor.sweep(request, stop=StopSignal()))
        eventually(lambda: site.seen_fence == request.fence, "the sweep waits for it")
        assert not call.is_over
        go.touch()
        assert process.wait(LIMIT) not in (0, -signal.SIGKILL)
    assert call.result() == Swept()
    site.purge()
    assert (site.snapshots, site.lives, site.live_id, site.staged) == ([snapshot], ["initial"], "initial", [])
    assert refusal(lambda: site.run(zombie)).reason is FaultReason.FENCED
    site.assert_whole()


@pytest.mark.rule("G9")
def test_a_stopped_attempt_that_wakes_after_its_staging_was_purged_publishes_nothing(site: Site) -> None:
    """Its lock is gone, as when its host was cut off from the metadata engine: it believes to hold it still."""
    plant_small(site.init())
    zombie = site.create_request()

    def meanwhile() -> None:
        site.ws.lock.unlink()  # a new lock file: nobody waits for the zombie
        site.ws.lock.touch(0o600)
        site.sweep()
        assert site.purge().deleted == (f"{zombie.task_id}.{zombie.fence}",)

    failpoints.arm("create.resumed", meanwhile)
    with pytest.raises(ExecutorFault):
        site.run(zombie)
    assert (site.snapshots, site.staged) == ([], [])


@pytest.mark.rule("G5")
def test_a_sweep_that_waits_for_the_lock_obeys_a_stop_and_has_moved_nothing(
    site: Site, old: str, stop: StopSignal
) -> None:
    lives = site.lives
    with site.ws.lock.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        request = site.sweep_request(live=(old,))
        call = Call(lambda: site.executor.sweep(request, stop=stop))
        eventually(lambda: site.seen_fence == request.fence, "the sweep waits")
        stop.stop(StopReason.SHUTDOWN)
        assert isinstance(call.outcome(), Stopped)
    assert site.lives == lives


@pytest.mark.rule("G5")
def test_a_sweep_with_an_older_fence_than_the_workspace_has_seen_is_refused(site: Site, old: str) -> None:
    request = site.sweep_request(live=(old,))
    fence.raise_fence(site.ws, request.fence + 1)
    fault = refusal(lambda: site.executor.sweep(request, stop=StopSignal()))
    assert fault.reason is FaultReason.FENCED
    assert old in site.lives


@pytest.mark.rule("G5")
@pytest.mark.parametrize("how", ["overtaken", "stopped"])
def test_a_sweep_gives_way_between_two_renames_and_a_repeat_does_the_rest(
    site: Site, old: str, stop: StopSignal, how: str
) -> None:
    actions: dict[str, Callable[[], None]] = {
        "overtaken": lambda: fence.raise_fence(site.ws, 1000),
        "stopped": lambda: stop.stop(StopReason.SHUTDOWN),
    }
    failpoints.arm("sweep.moved", actions[how])
    with pytest.raises((ExecutorFault, Stopped)):
        site.sweep(stop, live=("initial", old))
    assert site.lives == sorted([old, site.live_id])
    failpoints.disarm_all()
    request = SweepRequest(wsid=site.wsid, fence=1001, live=("initial", old))
    assert site.executor.sweep(request, stop=StopSignal()).moved == (f"live/{old}",)
    assert len(site.purge().deleted) == 2
    assert site.staged == []


@pytest.mark.rule("RK-04")
@pytest.mark.parametrize("point", ["sweep.thawed", "sweep.moved", "purge.deleted"])
def test_upkeep_killed_at_any_step_is_finished_by_a_repeat(site: Site, old: str, point: str) -> None:
    snapshot, current = site.snapshots[0], site.live_id
    site.ask_freeze()
    what: dict[str, Any] = {"live": ("initial", old), "snapshots": (snapshot,), "thaw": True}
    if point.startswith("sweep"):
        process = site.start_sweep(site.sweep_request(**what), f"{point}=kill")
    else:
        site.sweep(**what)
        process = site.start_purge(site.seen_fence, f"{point}=kill")
    with process:
        assert process.wait(LIMIT) == -signal.SIGKILL
    assert (len(site.lives) > 1) is point.startswith("sweep")
    assert not site.inventory().freeze_asked, "the thaw comes first"
    site.assert_whole()
    site.sweep(**what)
    site.purge()
    assert (site.lives, site.snapshots, site.staged) == ([current], [], [])
    assert not site.inventory().freeze_asked
    site.assert_whole()


@pytest.mark.rule("RK-04")
def test_what_cannot_be_moved_is_told_and_holds_up_nothing_else(site: Site, old: str) -> None:
    request = site.sweep_request(live=("initial", old))
    in_the_way = site.ws.swept(site.ws.live("initial"), request.fence)
    (in_the_way / "full").mkdir(parents=True)
    swept = site.executor.sweep(request, stop=StopSignal())
    assert swept.moved == (f"live/{old}",)
    assert swept.kept.keys() == {"live/initial"}
    assert site.lives == sorted(["initial", site.live_id])


@pytest.mark.root
@pytest.mark.rule("RK-04")
@pytest.mark.rule("H10")
def test_on_a_full_volume_a_sweep_still_works_and_its_purge_makes_room(small_site: Site) -> None:
    site = small_site
    plant_small(site.init())
    site.switch_to(site.snapshot())
    site.ask_freeze()
    with contextlib.suppress(OSError):
        for number in range(10 * SMALL_VOLUME_ENTRIES):
            (site.tree / f"filler-{number}").write_bytes(b"x" * 4096)
    with pytest.raises(OSError, match=r"No space|quota"):
        (site.tree / "one-more").write_bytes(b"x" * 4096)
    swept = site.sweep(live=("initial",), thaw=True)
    assert swept.moved == ("live/initial",)
    assert not swept.kept
    site.purge()
    assert site.staged == []
    (site.tree / "one-more").write_bytes(b"x" * 4096)
    assert site.sweep(thaw=True).thawed is not swept.thawed

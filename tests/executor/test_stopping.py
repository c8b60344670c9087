"""A stop reaches the clone: whatever runs is dead, staging is gone, nothing was published (SPEC §6; G13, G14)."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import child, failpoints
from executor.contract import ExecuteTask, ExecutorFault, FaultReason, Progress, Stopped, StopReason, StopSignal
from tests.executor.calls import Call
from tests.executor.conftest import MakeSite
from tests.executor.programs import HeldUp, held_up, is_running, open_files
from tests.executor.scene import Site
from tests.executor.trees import plant_many, plant_small, portrait
from tests.waiting import eventually

REASONS = [
    pytest.param(StopReason.TIMED_OUT, marks=pytest.mark.rule("G13")),
    pytest.param(StopReason.CANCELED, marks=pytest.mark.rule("G14")),
    StopReason.GUARD_LOST,
    StopReason.SHUTDOWN,
]
Ask = Callable[[Site, str], ExecuteTask]


def a_create(site: Site, _: str) -> ExecuteTask:
    return site.create_request()


def a_switch(site: Site, snapshot: str) -> ExecuteTask:
    return site.switch_request(snapshot)


def nothing_came_of_it(site: Site, snapshot: str) -> bool:
    return (site.snapshots, site.lives, site.live_id, site.staged) == ([snapshot], ["initial"], "initial", [])


def run_and_look(site: Site, request: ExecuteTask, stop: StopSignal, program: HeldUp, alive: list[bool]) -> None:
    """The attempt, and whether its child lived on: asked in its own thread, at whose end the kernel would kill it."""
    try:
        site.run(request, stop)
    finally:
        alive.append(is_running(program.pid))


def stopped(call: Call) -> StopReason:
    outcome = call.outcome()
    assert isinstance(outcome, Stopped), outcome
    return outcome.reason


def lock_is_free(site: Site) -> bool:
    with site.ws.lock.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def holder(make_site: MakeSite, driver: str, tmp_path: Path) -> Callable[[str], tuple[Site, HeldUp, str]]:
    """A workspace with a snapshot, whose next clones are held up."""
    if driver != "juicefs":
        pytest.skip("the copy driver has no child")

    def make(kind: str) -> tuple[Site, HeldUp, str]:
        program = held_up(tmp_path, kind)
        site = make_site(juicefs=program.path)
        program.let_go()
        plant_small(site.init())
        snapshot = site.snapshot()
        program.free.unlink()
        return site, program, snapshot

    return make


needs_child = pytest.mark.parametrize("driver", [pytest.param("juicefs", marks=pytest.mark.fuse)], indirect=True)


@needs_child
@pytest.mark.parametrize("ask", [a_create, a_switch])
@pytest.mark.parametrize("reason", REASONS)
def test_a_stop_kills_the_clone_process(
    holder: Callable[[str], tuple[Site, HeldUp, str]], stop: StopSignal, ask: Ask, reason: StopReason
) -> None:
    site, program, snapshot = holder("sleeping")
    request = ask(site, snapshot)
    alive: list[bool] = []
    call = Call(lambda: run_and_look(site, request, stop, program, alive))
    assert is_running(program.pid)
    stop.stop(reason)
    assert stopped(call) is reason
    assert alive == [False]
    assert nothing_came_of_it(site, snapshot)
    program.let_go()
    assert not site.run(site.again(request)).already_done
    site.assert_whole()
    assert site.staged == []


@needs_child
@pytest.mark.rule("G13")
@pytest.mark.rule("G14")
@pytest.mark.parametrize("kind", ["stopped", "deaf"])
def test_a_clone_process_that_does_not_hear_is_killed_all_the_same(
    holder: Callable[[str], tuple[Site, HeldUp, str]], stop: StopSignal, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(child, "TERM_SECONDS", 0.2)
    site, program, snapshot = holder(kind)
    request, alive = site.create_request(), list[bool]()
    call = Call(lambda: run_and_look(site, request, stop, program, alive))
    assert is_running(program.pid)
    stop.stop(StopReason.TIMED_OUT)
    assert stopped(call) is StopReason.TIMED_OUT
    assert alive == [False]
    assert nothing_came_of_it(site, snapshot)


@pytest.mark.rule("G13")
@pytest.mark.rule("G14")
@pytest.mark.parametrize("ask", [a_create, a_switch])
def test_a_stop_in_the_middle_of_a_real_clone_leaves_nothing(site: Site, stop: StopSignal, ask: Ask) -> None:
    plant_many(site.init(), entries=600)
    snapshot = site.snapshot()

    def halfway(progress: Progress) -> None:
        if progress.phase == "clone" and (site.driver == "juicefs" or progress.entries_done > 200):
            stop.stop(StopReason.CANCELED)

    with pytest.raises(Stopped):
        site.run(ask(site, snapshot), stop, halfway)
    assert nothing_came_of_it(site, snapshot)


@pytest.mark.rule("G14")
@pytest.mark.parametrize("driver", ["copy"], indirect=True)
def test_a_stop_in_the_middle_of_a_huge_file_does_not_wait_for_its_end(
    site: Site, stop: StopSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (site.init() / "huge").open("wb") as file:
        file.write(b"x" * 65536)
    copied: list[int] = []
    real = os.copy_file_range

    def slowly(source: int, destination: int, count: int, *offsets: int) -> int:
        stop.stop(StopReason.CANCELED)
        copied.append(real(source, destination, min(count, 4096), *offsets))
        return copied[-1]

    monkeypatch.setattr(os, "copy_file_range", slowly)
    with pytest.raises(Stopped):
        site.run(site.create_request(), stop)
    assert copied == [4096]
    assert site.staged == site.snapshots == []


CREATE_POINTS = ["create.staged", "create.frozen", "create.cloned", "create.resumed", "create.verified"]
SWITCH_POINTS = ["set_current.copied", "set_current.cloned", "set_current.frozen", "set_current.published"]


@pytest.mark.rule("G14")
@pytest.mark.parametrize("driver", ["copy"], indirect=True)
@pytest.mark.parametrize("point", [*CREATE_POINTS, "create.described", *SWITCH_POINTS])
def test_a_stop_at_any_step_before_publication_is_obeyed(site: Site, stop: StopSignal, point: str) -> None:
    plant_small(site.init())
    snapshot = site.snapshot()
    failpoints.arm(point, lambda: stop.stop(StopReason.CANCELED))
    ask = a_create if point.startswith("create") else a_switch
    request = ask(site, snapshot)
    with pytest.raises(Stopped):
        site.run(request, stop)
    assert nothing_came_of_it(site, snapshot)
    assert site.probe(site.again(request)) is None


@pytest.mark.rule("G14")
@pytest.mark.parametrize("driver", ["copy"], indirect=True)
@pytest.mark.parametrize("point", ["create.published", "set_current.switched", "set_current.resumed", "drop.moved"])
def test_a_stop_after_publication_is_too_late(site: Site, stop: StopSignal, point: str) -> None:
    plant_small(site.init())
    snapshot, other = site.snapshot(), site.snapshot()
    failpoints.arm(point, lambda: stop.stop(StopReason.CANCELED))
    asks: dict[str, Ask] = {"create": a_create, "set_current": a_switch, "drop": Site.drop_request}
    request = asks[point.partition(".")[0]](site, other)
    site.run(request, stop)
    found = site.probe(site.again(request))
    assert found is not None
    assert found.already_done
    assert snapshot in site.snapshots
    assert site.staged == []


def test_a_stop_before_the_start_changes_nothing(site: Site, stop: StopSignal) -> None:
    site.init()
    stop.stop(StopReason.SHUTDOWN)
    with pytest.raises(Stopped):
        site.run(site.create_request(), stop)
    assert site.snapshots == site.staged == []


@pytest.mark.rule("G14")
def test_a_stop_reaches_an_attempt_that_waits_for_the_lock(site: Site, stop: StopSignal) -> None:
    site.init()
    with site.ws.lock.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        call = Call(lambda: site.run(site.create_request(), stop))
        eventually(lambda: site.ws.fence.read_bytes().strip().endswith(b"2"), "the attempt raised the fence")
        stop.stop(StopReason.CANCELED)
        assert stopped(call) is StopReason.CANCELED
    assert site.snapshots == []


@needs_child
def test_the_clone_holds_the_lock_and_a_killed_executor_takes_it_along(
    holder: Callable[[str], tuple[Site, HeldUp, str]],
) -> None:
    site, program, _ = holder("sleeping")
    request = site.create_request()
    with site.start(request, EXECUTOR_JUICEFS=str(program.path)) as process:
        pid = program.pid
        eventually(lambda: str(site.ws.lock) in open_files(pid), "the clone has the lock's descriptor")
        process.kill()
    eventually(lambda: not is_running(pid), "the clone died with its parent")
    eventually(lambda: lock_is_free(site), "the lock is free")
    program.let_go()
    site.run(site.again(request))
    assert len(site.snapshots) == 2
    assert site.staged == []


@needs_child
@pytest.mark.rule("G5")
def test_no_attempt_begins_while_the_clone_of_a_killed_one_still_lives(
    holder: Callable[[str], tuple[Site, HeldUp, str]], stop: StopSignal
) -> None:
    site, program, snapshot = holder("outliving its parent")
    request = site.create_request()
    with site.start(request, EXECUTOR_JUICEFS=str(program.path)) as process:
        pid = program.pid
        eventually(lambda: b"prctl" in Path(f"/proc/{pid}/cmdline").read_bytes(), "it runs")
        eventually(lambda: outlives(pid), "it lives on without its parent")
        process.kill()
    assert is_running(pid)
    assert not lock_is_free(site)
    program.let_go()
    again = site.again(request)
    call = Call(lambda: site.run(again, stop))
    eventually(lambda: site.ws.fence.read_text().strip().endswith(str(again.fence)), "the next attempt waits")
    assert not call.is_over
    assert site.snapshots == [snapshot]
    os.kill(pid, signal.SIGKILL)
    call.result()
    assert len(site.snapshots) == 2
    assert portrait(site.snapshot_tree(request.snapshot_id or "")) == portrait(site.tree)
    assert site.staged == []


def outlives(pid: int) -> bool:
    """It sleeps, so it has passed the line before."""
    return "nanosleep" in Path(f"/proc/{pid}/wchan").read_text() or "hrtimer" in Path(f"/proc/{pid}/wchan").read_text()


@needs_child
def test_a_juicefs_program_that_cannot_be_started_is_a_fault_that_may_pass(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    site.init()
    broken = make_site(juicefs=tmp_path / "none")
    broken.init()
    with pytest.raises(ExecutorFault) as caught:
        broken.snapshot()
    assert caught.value.reason is FaultReason.CLONE_FAILED
    assert not caught.value.permanent
    assert broken.staged == []

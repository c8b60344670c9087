"""The supervisor hears what it must and sleeps otherwise (SPEC §6)."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator

import pytest

from executor.contract import StopReason, StopSignal
from tasks import bells
from tasks.cancels import CancelListener
from tasks.engine import Engine
from tasks.locks import GuardPool
from tasks.models import Task
from tasks.services import cancel_task
from tasks.states import Status
from tasks.supervisor import Supervisor, Watched
from tests.engine.world import Held, query, status_of, wait_listening
from tests.factories import ACTOR, make_task, make_workspace
from tests.fakes import FakeExecutor
from tests.waiting import LIMIT, eventually
from wvs_project.db import direct_conninfo

pytestmark = pytest.mark.rule("SPEC §6")

ENOUGH_TO_SPIN = 300
"""Questions to the database: time enough for a thread that does not sleep to come round thousands of times."""


class Counting(Supervisor):
    """Counts how often one of its threads wakes up."""

    wakings = 0

    def _wait_and_check(self) -> None:
        self.wakings += 1
        super()._wait_and_check()


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    counting = Counting(direct_conninfo(application_name="wvs-supervisor"))
    wait = CancelListener._wait_and_tell

    def count(self: CancelListener) -> None:
        counting.wakings += 1
        wait(self)

    monkeypatch.setattr(CancelListener, "_wait_and_tell", count)
    yield counting
    counting.close()


def _watch(supervisor: Supervisor, guards: GuardPool, *, deadline: float = LIMIT, cancelable: bool = True) -> Watched:
    task = make_task(make_workspace(), status=Status.RUNNING)
    guard = guards.acquire(task.workspace_id)
    assert guard is not None
    watched = Watched(task.task_id, guard, StopSignal(), time.monotonic() + deadline, cancelable)
    supervisor.watch(watched)
    return watched


def _unwatch(supervisor: Supervisor, guards: GuardPool, watched: Watched) -> None:
    supervisor.unwatch(watched)
    watched.stop.close()
    guards.release(watched.guard)


def _have_served(supervisor: Supervisor, guards: GuardPool) -> None:
    """It listens and nothing runs."""
    watched = _watch(supervisor, guards)
    eventually(lambda: supervisor.cancels.is_listening, "it to listen")
    _unwatch(supervisor, guards, watched)


def _let_it_spin() -> None:
    for _ in range(ENOUGH_TO_SPIN):
        query("SELECT 1")


def test_a_cancel_of_somebody_elses_task_does_not_keep_an_idle_worker_awake(
    supervisor: Counting, guards: GuardPool
) -> None:
    _have_served(supervisor, guards)
    before = supervisor.wakings
    bells.announce_cancel("task-of-another-worker")
    eventually(lambda: supervisor.wakings > before)
    _let_it_spin()
    assert supervisor.wakings <= before + 5


def test_a_lost_connection_does_not_keep_an_idle_worker_awake(supervisor: Counting, guards: GuardPool) -> None:
    _have_served(supervisor, guards)
    query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wvs-supervisor'")
    eventually(lambda: not supervisor.cancels.is_listening, "it to notice")
    before = supervisor.wakings
    _let_it_spin()
    assert supervisor.wakings <= before + 5


def test_a_run_that_is_slow_to_stop_does_not_keep_it_awake(supervisor: Counting, guards: GuardPool) -> None:
    watched = _watch(supervisor, guards, deadline=0.0)
    assert watched.stop.wait(LIMIT)
    assert watched.stop.reason is StopReason.TIMED_OUT
    before = supervisor.wakings
    _let_it_spin()
    assert supervisor.wakings <= before + 5
    _unwatch(supervisor, guards, watched)


def test_one_run_too_long_does_not_hide_the_deadline_of_another(supervisor: Counting, guards: GuardPool) -> None:
    first = _watch(supervisor, guards, deadline=0.0)
    assert first.stop.wait(LIMIT)
    second = _watch(supervisor, guards, deadline=0.2)
    assert second.stop.wait(LIMIT)
    assert second.stop.reason is StopReason.TIMED_OUT
    for watched in (first, second):
        _unwatch(supervisor, guards, watched)


@pytest.mark.rule("G13")
def test_deadlines_and_lost_guards_do_not_wait_for_a_postgresql_that_does_not_answer(
    supervisor: Counting, guards: GuardPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def never_answers(self: CancelListener, connection: object) -> None:
        asked.set()
        assert answered.wait(LIMIT)

    monkeypatch.setattr(CancelListener, "_tell", never_answers)
    late, lost = _watch(supervisor, guards, deadline=3600), _watch(supervisor, guards)
    assert asked.wait(LIMIT)
    overdue = _watch(supervisor, guards, deadline=0.0)
    query("SELECT pg_terminate_backend(%s)", lost.guard.backend_pid)
    assert overdue.stop.wait(LIMIT)
    assert lost.stop.wait(LIMIT)
    assert (overdue.stop.reason, lost.stop.reason) == (StopReason.TIMED_OUT, StopReason.GUARD_LOST)
    answered.set()
    for watched in (late, lost, overdue):
        _unwatch(supervisor, guards, watched)


def test_the_first_reason_to_stop_stands(supervisor: Counting, guards: GuardPool) -> None:
    watched = _watch(supervisor, guards)
    supervisor.stop_all(StopReason.SHUTDOWN)
    watched.stop.stop(StopReason.TIMED_OUT)
    assert watched.stop.reason is StopReason.SHUTDOWN
    _unwatch(supervisor, guards, watched)


@pytest.mark.rule("G14")
def test_a_cancel_is_heard_after_the_connection_that_hears_it_was_lost(engine: Engine, fake: FakeExecutor) -> None:
    held = Held(engine, fake, make_task(make_workspace()))
    wait_listening()
    query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wvs-supervisor'")
    task = Task.objects.get()
    cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1")
    held.thread.result()
    assert status_of(task) is Status.CANCELED


def test_a_stop_is_heard_by_a_process_with_more_than_a_thousand_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    many = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        stop = StopSignal()
        assert stop.fileno() > 1023
        assert not stop.wait(0.001)
        stop.stop(StopReason.CANCELED)
        assert stop.wait(LIMIT)
        stop.close()
    finally:
        for descriptor in many:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

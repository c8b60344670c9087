"""A worker that is stopped or hangs keeps its lock: past its time its guard is ended, and it changes nothing (G13)."""

from __future__ import annotations

import pytest

from executor.contract import StopReason
from tasks.engine import Engine
from tasks.locks import GuardPool, run_holders
from tasks.models import Task
from tasks.scheduler import HUNG_SECONDS, Scheduler
from tasks.states import Status
from tests.engine.world import Held, fresh, guard_backends, lost, query, status_of, unknown
from tests.factories import from_now, make_due, make_task, make_workspace, new_wsid
from tests.fakes import FakeExecutor, Gate
from tests.waiting import eventually


def _began(task: Task, *, seconds_ago: float) -> None:
    Task.objects.filter(pk=task.pk).update(started_at=from_now(-seconds_ago))


@pytest.mark.rule("G13")
def test_past_its_deadline_and_the_time_to_stop_a_worker_loses_its_guard_and_its_task_is_rescued(
    engine: Engine, fake: FakeExecutor, scheduler: Scheduler
) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task, Gate(obeys=False))
    _began(task, seconds_ago=task.timeout_seconds + HUNG_SECONDS + 1)
    scheduler.beat()
    eventually(lambda: not guard_backends(), "the guard to be ended")
    scheduler.beat()
    row = fresh(task)
    assert (row.state, row.outcome_unknown) == (Status.FAILED, True)
    held.gate.wait_stopped()
    assert held.gate.stop is not None
    assert held.gate.stop.reason is StopReason.GUARD_LOST
    held.end()
    assert status_of(task) is Status.FAILED


@pytest.mark.rule("G13")
def test_until_then_it_may_be_stopping_and_is_left_alone(
    engine: Engine, fake: FakeExecutor, scheduler: Scheduler
) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task)
    _began(task, seconds_ago=task.timeout_seconds + HUNG_SECONDS - 5)
    scheduler.beat()
    assert len(guard_backends()) == 1
    held.end()
    assert status_of(task) is Status.SUCCEEDED


@pytest.mark.rule("G13")
def test_an_attempt_that_follows_a_probe_has_its_whole_time(engine: Engine, fake: FakeExecutor) -> None:
    task = unknown(make_workspace())
    make_due(task)

    def long_ago(*_: object) -> None:
        _began(task, seconds_ago=3600)

    fake.on_probe.append(long_ago)
    held = Held(engine, fake, task)
    ((age,),) = query(
        "SELECT extract(epoch FROM now() - started_at)::float8 FROM tasks WHERE task_id = %s", task.task_id
    )
    assert age < task.timeout_seconds
    held.end()


@pytest.mark.rule("G11")
@pytest.mark.parametrize("count", [0, 1, 200])
def test_the_holders_are_found_whatever_the_hash(guards: GuardPool, count: int) -> None:
    wsids = [new_wsid() for _ in range(count)]
    held = {wsid: guard for wsid in wsids[::2] if (guard := guards.acquire(wsid)) is not None}
    assert run_holders(wsids) == {wsid: guard.backend_pid for wsid, guard in held.items()}
    for guard in held.values():
        guards.release(guard)


@pytest.mark.rule("G11")
def test_a_lost_task_is_rescued_though_the_broker_is_down_and_is_asked_once_a_beat(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def down(wsid: str) -> bool:
        asked.append(wsid)
        return False

    monkeypatch.setattr("tasks.doorbell.ring", down)
    tasks = [lost(make_workspace()) for _ in range(5)]
    for _ in range(5):
        make_task(make_workspace(), next_run_at=from_now(-60))
    wait = scheduler.beat()
    assert {status_of(task) for task in tasks} == {Status.FAILED}
    assert len(asked) == 1
    assert wait <= 1.0
    scheduler.beat()
    assert len(asked) == 2

"""Whoever holds RUN and is lost is noticed, and what it left is rescued (SPEC §6, G11)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from executor import failpoints
from executor.contract import StopReason
from executor.failpoints import FailpointError
from tasks.engine import Engine
from tasks.locks import GuardPool
from tasks.models import AuditEvent
from tasks.scheduler import Scheduler
from tasks.states import Status
from tests.engine.world import Held, fresh, guard_backends, lost, query, status_of
from tests.factories import make_due, make_task, make_workspace
from tests.fakes import FakeExecutor, Gate


@pytest.mark.rule("G5")
def test_when_the_guards_connection_is_lost_the_run_is_stopped_and_nothing_is_written(
    engine: Engine, fake: FakeExecutor
) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task)
    (pid,) = guard_backends()
    query("SELECT pg_terminate_backend(%s)", pid)
    held.gate.wait_stopped()
    held.thread.result()
    assert held.gate.stop is not None
    assert held.gate.stop.reason is StopReason.GUARD_LOST
    row = fresh(task)
    assert (row.state, row.attempt, row.ended_at) == (Status.RUNNING, 1, None)


@pytest.mark.rule("G9")
def test_a_run_that_lost_its_guard_and_yet_published_writes_nothing(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace())
    published = Gate(obeys=False)
    fake.after = published
    held = Held(engine, fake, task)
    held.gate.open()
    published.wait_entered()
    query("SELECT pg_terminate_backend(%s)", guard_backends()[0])
    published.wait_stopped()
    published.open()
    held.thread.result()
    assert status_of(task) is Status.RUNNING


@pytest.mark.rule("G11")
def test_what_a_lost_guard_left_is_rescued_probed_and_done(
    engine: Engine, fake: FakeExecutor, scheduler: Scheduler
) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task)
    query("SELECT pg_terminate_backend(%s)", guard_backends()[0])
    held.thread.result()
    scheduler.beat()
    row = fresh(task)
    assert (row.state, row.outcome_unknown) == (Status.FAILED, True)
    make_due(task)
    engine.serve(task.workspace_id)
    assert (status_of(task), len(fake.probed), len(fake.executed)) == (Status.SUCCEEDED, 1, 2)


@pytest.mark.rule("G11")
def test_the_scheduler_rescues_a_running_task_whose_run_lock_is_free(scheduler: Scheduler, bells: list[str]) -> None:
    task = lost(make_workspace())
    scheduler.beat()
    row = fresh(task)
    assert (row.state, row.attempt, row.outcome_unknown) == (Status.FAILED, 1, True)
    assert row.error is not None
    assert (row.error["code"], row.error["reason"]) == ("WVS_EXECUTOR_ERROR", "WORKER_LOST")
    assert bells == [task.workspace_id]
    event = AuditEvent.objects.get(action="task.rescue")
    assert (event.task_id, event.actor["type"]) == (task.task_id, "scheduler")


@pytest.mark.rule("G11")
def test_the_scheduler_leaves_a_running_task_alone_while_its_worker_lives(
    engine: Engine, fake: FakeExecutor, scheduler: Scheduler
) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task)
    scheduler.beat()
    assert status_of(task) is Status.RUNNING
    held.end()
    assert status_of(task) is Status.SUCCEEDED


@pytest.mark.rule("G11")
def test_a_worker_that_finds_a_running_task_with_run_free_rescues_it_and_does_not_run_it_at_once(
    engine: Engine, fake: FakeExecutor
) -> None:
    task = lost(make_workspace())
    behind = make_task(task.workspace)
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.outcome_unknown) == (Status.FAILED, True)
    assert status_of(behind) is Status.PENDING
    assert (fake.probed, fake.executed) == ([], [])
    assert AuditEvent.objects.get(action="task.rescue").actor["type"] == "worker"


@pytest.mark.rule("G11")
@pytest.mark.parametrize("why", ["no attempt is left", "its cancel was requested"])
def test_what_can_only_be_probed_is_probed_at_once(engine: Engine, fake: FakeExecutor, why: str) -> None:
    task = lost(make_workspace(), **({"attempt": 5} if why == "no attempt is left" else {"cancel_requested": True}))
    engine.serve(task.workspace_id)
    assert status_of(task) is (Status.DEAD if why == "no attempt is left" else Status.CANCELED)
    assert len(fake.probed) == 1


@pytest.mark.rule("G11")
@pytest.mark.parametrize("point", ["engine.guard.taken", "engine.claim.running", "engine.claim.prepared"])
def test_a_crash_before_the_claim_is_committed_leaves_the_task_pending(engine: Engine, point: str) -> None:
    task = make_task(make_workspace())

    def crash() -> None:
        raise FailpointError(point)

    failpoints.arm(point, crash)
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt, row.fence) == (Status.PENDING, 0, None)
    failpoints.disarm_all()
    engine.serve(task.workspace_id)
    assert status_of(task) is Status.SUCCEEDED


@pytest.mark.rule("G11")
def test_a_crash_after_the_claim_is_healed_by_rescue_and_probe(
    engine: Engine, fake: FakeExecutor, scheduler: Scheduler
) -> None:
    task = make_task(make_workspace())

    def crash() -> None:
        raise FailpointError("engine.claim.committed")

    failpoints.arm("engine.claim.committed", crash)
    engine.serve(task.workspace_id)
    failpoints.disarm_all()
    assert (status_of(task), fake.executed) == (Status.RUNNING, [])
    scheduler.beat()
    make_due(task)
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt) == (Status.SUCCEEDED, 2)


@pytest.mark.rule("SPEC §6")
def test_a_second_run_of_a_task_in_one_process_keeps_its_watch_when_the_first_ends(
    make_engine: Callable[[], Engine], fake: FakeExecutor
) -> None:
    # The first run has lost its guard and is slow to stop; the task runs again in the same process meanwhile.
    engine = make_engine()
    task = make_task(make_workspace())
    first = Held(engine, fake, task, Gate(obeys=False))
    query("SELECT pg_terminate_backend(%s)", guard_backends()[0])
    first.gate.wait_stopped()
    engine.serve(task.workspace_id)
    make_due(task)
    second = Held(engine, fake, task)
    first.end()
    query("SELECT pg_terminate_backend(%s)", guard_backends()[0])
    second.gate.wait_stopped()
    second.thread.result()
    assert status_of(task) is Status.RUNNING


@pytest.mark.rule("SPEC §6")
def test_the_scheduler_does_not_keep_run(scheduler: Scheduler, guards: GuardPool) -> None:
    lost(make_workspace())
    scheduler.beat()
    assert guard_backends() == []

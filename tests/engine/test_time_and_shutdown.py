"""Time-outs are enforced (G13); a worker that has to go leaves nothing RUNNING (G12); retries wait (SPEC §6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from executor.contract import ExecuteTask, FaultReason, StopReason, StopSignal
from tasks.engine import Engine
from tasks.models import Task
from tasks.retry import LIMIT_SECONDS, backoff
from tasks.services import cancel_task
from tasks.states import Status
from tasks.supervisor import Supervisor, Watched
from tests.engine.world import Held, fresh, query, status_of, unknown
from tests.factories import ACTOR, make_due, make_task, make_workspace
from tests.fakes import FakeExecutor, Gate, fault
from tests.waiting import InThread


@pytest.mark.rule("G13")
def test_a_run_that_takes_longer_than_its_time_out_is_stopped_and_retried(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace(), timeout_seconds=1)
    gate = Gate()
    fake.on_execute.append(gate)
    engine.serve(task.workspace_id)
    assert gate.stop is not None
    assert gate.stop.reason is StopReason.TIMED_OUT
    row = fresh(task)
    assert (row.state, row.attempt, row.outcome_unknown) == (Status.FAILED, 1, False)
    assert row.error is not None
    assert (row.error["code"], row.error["reason"]) == ("WVS_EXECUTOR_TIMEOUT", "TIMED_OUT")
    assert fake.published == {}


@pytest.mark.rule("G13")
def test_a_probe_that_takes_too_long_is_stopped_and_answers_nothing(engine: Engine, fake: FakeExecutor) -> None:
    task = unknown(make_workspace(), timeout_seconds=1)
    fake.on_probe.append(Gate())
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt, row.outcome_unknown) == (Status.FAILED, 1, True)


@pytest.mark.rule("G13")
def test_a_time_out_on_the_last_attempt_is_the_end(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace(), timeout_seconds=1, attempt=4)
    fake.on_execute.append(Gate())
    engine.serve(task.workspace_id)
    assert status_of(task) is Status.DEAD


@pytest.mark.rule("G12")
def test_a_running_task_is_handed_back_with_its_attempt_and_is_due_at_once(
    make_engine: Callable[[], Engine], fake: FakeExecutor, bells: list[str]
) -> None:
    engine = make_engine()
    task = make_task(make_workspace())
    held = Held(engine, fake, task)
    engine.stop_taking()
    engine.hand_back_all()
    held.thread.result()
    row = fresh(task)
    assert (row.state, row.attempt, row.outcome_unknown) == (Status.FAILED, 0, False)
    assert task.workspace_id in bells
    make_engine().serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt) == (Status.SUCCEEDED, 1)


@pytest.mark.rule("G12")
def test_a_probe_that_is_handed_back_leaves_attempt_and_question_as_they_were(
    engine: Engine, fake: FakeExecutor
) -> None:
    task = unknown(make_workspace(), attempt=3)
    gate = Gate()
    fake.on_probe.append(gate)
    serving = InThread(lambda: engine.serve(task.workspace_id))
    gate.wait_entered()
    engine.stop_taking()
    engine.hand_back_all()
    serving.result()
    row = fresh(task)
    assert (row.state, row.attempt, row.outcome_unknown) == (Status.FAILED, 3, True)


@pytest.mark.rule("G12")
def test_a_run_that_was_claimed_just_before_the_hand_back_is_handed_back_too(
    engine: Engine, fake: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Supervisor.watch

    def stop_and_watch(self: Supervisor, run: Watched) -> None:
        engine.stop_taking()
        engine.hand_back_all()
        watch(self, run)

    monkeypatch.setattr(Supervisor, "watch", stop_and_watch)
    task = make_task(make_workspace())
    fake.on_execute.append(Gate())
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt) == (Status.FAILED, 0)


@pytest.mark.rule("G12")
def test_a_cancel_that_waits_is_done_by_the_hand_back(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task, Gate(obeys=False, then=_stopped))
    engine.stop_taking()
    engine.hand_back_all()
    cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1")
    held.end()
    assert status_of(task) is Status.CANCELED


def _stopped(request: ExecuteTask, stop: StopSignal) -> None:
    stop.check()


@pytest.mark.rule("G12")
def test_a_worker_that_is_stopping_takes_no_new_task_and_passes_the_bell_on(
    engine: Engine, fake: FakeExecutor, bells: list[str]
) -> None:
    task = make_task(make_workspace())
    engine.stop_taking()
    engine.serve(task.workspace_id)
    assert (status_of(task), fake.executed) == (Status.PENDING, [])
    assert bells == [task.workspace_id]


@pytest.mark.rule("SPEC §6")
def test_a_failed_attempt_waits_for_its_backoff_and_the_fifth_is_the_last(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace())
    for attempt, least in enumerate([5, 10, 20, 40], start=1):
        fake.on_execute.append(fault(FaultReason.CLONE_FAILED))
        engine.serve(task.workspace_id)
        row = fresh(task)
        assert (row.state, row.attempt) == (Status.FAILED, attempt)
        ((waits,),) = query(
            "SELECT extract(epoch FROM next_run_at - started_at)::float8 FROM tasks WHERE task_id = %s", task.task_id
        )
        assert waits >= least
        make_due(task)
    fake.on_execute.append(fault(FaultReason.CLONE_FAILED))
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt) == (Status.DEAD, 5)
    assert row.error == {
        "code": "WVS_EXECUTOR_ERROR",
        "reason": "CLONE_FAILED",
        "message": "a test says CLONE_FAILED",
        "attempt": 5,
    }


@pytest.mark.rule("SPEC §6")
@pytest.mark.parametrize("attempt", [0, 4])
def test_what_no_executor_took_up_was_no_attempt_and_is_tried_again_later(
    engine: Engine, fake: FakeExecutor, attempt: int
) -> None:
    task = make_task(make_workspace(), attempt=attempt)
    fake.on_execute.append(fault(FaultReason.UNAVAILABLE, begun=False))
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt, row.outcome_unknown) == (Status.FAILED, attempt, False)
    assert row.error is not None
    assert (row.error["code"], row.error["reason"]) == ("WVS_EXECUTOR_ERROR", "UNAVAILABLE")
    make_due(task)
    engine.serve(task.workspace_id)
    assert (status_of(task), fresh(task).attempt) == (Status.SUCCEEDED, attempt + 1)


@pytest.mark.rule("SPEC §4")
@pytest.mark.parametrize("reason", ["SNAPSHOT_IN_USE", "SNAPSHOT_MISSING", "DRIFT", "UNSAFE_PATH", "NO_SPACE"])
def test_a_permanent_error_is_not_retried(engine: Engine, fake: FakeExecutor, reason: str) -> None:
    task = make_task(make_workspace())
    fake.on_execute.append(fault(FaultReason(reason)))
    engine.serve(task.workspace_id)
    assert (status_of(task), fresh(task).attempt) == (Status.DEAD, 1)


@pytest.mark.rule("SPEC §4")
@pytest.mark.parametrize("reason", ["QUIESCE_VIOLATED", "QUIESCE_EXPIRED", "CLONE_FAILED", "FENCED", "UNAVAILABLE"])
def test_any_other_error_is_retried(engine: Engine, fake: FakeExecutor, reason: str) -> None:
    task = make_task(make_workspace())
    fake.on_execute.append(fault(FaultReason(reason)))
    engine.serve(task.workspace_id)
    assert status_of(task) is Status.FAILED


@pytest.mark.rule("SPEC §6")
def test_the_backoff_doubles_from_five_seconds_up_to_five_minutes() -> None:
    waits = [backoff(attempt, base=5.0, chance=0.0) for attempt in range(1, 9)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]


@pytest.mark.rule("SPEC §6")
def test_the_jitter_adds_up_to_a_tenth() -> None:
    assert backoff(1, base=5.0, chance=0.5) == pytest.approx(5.25)
    assert backoff(60, base=5.0, chance=0.999) <= LIMIT_SECONDS * 1.1


@pytest.mark.rule("SPEC §6")
@pytest.mark.parametrize("attempt", [-1, 0, 1])
def test_the_first_attempts_wait_is_the_least_there_is(attempt: int) -> None:
    assert backoff(attempt, base=5.0, chance=0.0) == 5.0


def test_a_huge_attempt_does_not_overflow() -> None:
    assert backoff(10**9, base=5.0, chance=0.0) == LIMIT_SECONDS


def test_a_task_row_has_the_defaults_of_the_contract() -> None:
    task: Task = make_task(make_workspace())
    assert (task.attempt, task.max_attempts, task.timeout_seconds) == (0, 5, 300)

"""What logs and traces tell of a task: each transition, each attempt, and whom they serve (SPEC §11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from django.db import OperationalError

from executor.contract import ExecuteTask, FaultReason, StopSignal
from tasks import services
from tasks.audit import ANONYMOUS
from tasks.engine import Engine
from tasks.models import Op, Task
from tasks.scheduler import Scheduler
from tests.engine.world import Held, fresh, lost, unknown
from tests.factories import make_current, make_due, make_snapshot, make_task, make_workspace
from tests.fakes import FakeExecutor, fault
from tests.observation.recorded import PARENT, TRACE, Recorded, failure_of, parent_id_of, recorded, trace_of

pytestmark = pytest.mark.rule("SPEC §11")
IDS = ("request_id", "task_id", "wsid", "op")


@pytest.fixture
def spans() -> Iterator[Recorded]:
    with recorded() as spans:
        yield spans


def told(logs: list[Any], task: Task) -> list[dict[str, Any]]:
    """The lines of its transitions, each of which says whom it serves."""
    lines = [line for line in logs if line["event"].startswith("task.")]
    row = fresh(task)
    assert {tuple(line[name] for name in IDS) for line in lines} == {
        (row.request_id, row.task_id, row.workspace_id, row.op)
    }
    return lines


def test_a_task_that_succeeds_is_claimed_and_succeeds(engine: Engine, logs: list[Any]) -> None:
    task = make_task(make_workspace(), traceparent=PARENT)
    engine.serve(task.workspace_id)
    lines = told(logs, task)
    assert [(line["event"], line["log_level"], line["attempt"]) for line in lines] == [
        ("task.claimed", "info", 1),
        ("task.succeeded", "info", 1),
    ]
    assert {line["trace_id"] for line in lines} == {TRACE}


@pytest.mark.parametrize(
    ("attempt", "reason", "event", "level"),
    [
        (1, FaultReason.CLONE_FAILED, "task.retry", "warning"),
        (5, FaultReason.CLONE_FAILED, "task.dead", "error"),
        (1, FaultReason.DRIFT, "task.dead", "error"),
    ],
)
def test_a_failure_is_told_with_its_code_and_reason(
    engine: Engine, fake: FakeExecutor, logs: list[Any], attempt: int, reason: FaultReason, event: str, level: str
) -> None:
    task = make_task(make_workspace(), attempt=attempt - 1)
    fake.on_execute.append(fault(reason))
    engine.serve(task.workspace_id)
    last = told(logs, task)[-1]
    assert (last["event"], last["log_level"], last["attempt"]) == (event, level, attempt)
    assert (last["code"], last["reason"], last["error"]) == ("WVS_EXECUTOR_ERROR", reason, f"a test says {reason}")


def test_a_cancel_says_by_which_request(engine: Engine, logs: list[Any]) -> None:
    task = make_task(make_workspace())
    with structlog.contextvars.bound_contextvars(request_id="req-of-the-cancel"):
        services.cancel_task(task_id=task.task_id, actor=ANONYMOUS, request_id="req-of-the-cancel")
    [line] = told(logs, task)
    assert (line["event"], line["by_request_id"]) == ("task.canceled", "req-of-the-cancel")


def test_a_shutdown_hands_back(engine: Engine, fake: FakeExecutor, logs: list[Any]) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task)
    engine.stop_taking()
    engine.hand_back_all()
    held.thread.result()
    assert [line["event"] for line in told(logs, task)] == ["task.claimed", "task.handed_back"]


def test_the_scheduler_tells_of_a_rescue_in_the_tasks_own_trace(
    scheduler: Scheduler, logs: list[Any], spans: Recorded
) -> None:
    task = lost(make_workspace(), traceparent=PARENT)
    scheduler.beat()
    [line] = told(logs, task)
    assert (line["event"], line["reason"], line["trace_id"]) == ("task.rescued", "WORKER_LOST", TRACE)
    assert line["outcome_unknown"] is True
    assert trace_of(spans.the("task.rescue")) == TRACE
    assert parent_id_of(spans.the("task.rescue")) in PARENT


def test_a_transaction_that_is_rolled_back_tells_nothing(
    engine: Engine, logs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(make_workspace())

    def fail(*args: object, **fields: object) -> None:
        raise OperationalError("a test lets the audit fail")

    monkeypatch.setattr("tasks.settlement.record", fail)
    monkeypatch.setattr("tasks.settlement._TRIES", 1)
    engine.serve(task.workspace_id)
    assert [line["event"] for line in told(logs, task)] == ["task.claimed"]


def test_what_interrupts_a_run_is_told_with_whom_it_served(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(make_workspace())
    monkeypatch.setattr("tasks.engine.settle", lambda task, decide: 1 / 0)
    merge = structlog.contextvars.merge_contextvars
    with structlog.testing.capture_logs(processors=[merge]) as logs:
        engine.serve(task.workspace_id)
    [line] = [line for line in logs if line["event"] == "serve.failed"]
    assert (line["request_id"], line["task_id"], line["attempt"]) == (task.request_id, task.task_id, 1)
    assert structlog.contextvars.get_contextvars() == {}


def test_every_attempt_is_a_span_below_the_request_and_says_why_it_failed(
    engine: Engine, fake: FakeExecutor, spans: Recorded
) -> None:
    task = make_task(make_workspace(), traceparent=PARENT)
    fake.on_execute.append(fault(FaultReason.QUIESCE_TIMEOUT))
    engine.serve(task.workspace_id)
    make_due(task)
    engine.serve(task.workspace_id)
    first, second = spans.named("worker.execute_task")
    assert (trace_of(first), trace_of(second)) == (TRACE, TRACE)
    assert parent_id_of(first) == parent_id_of(second)
    assert parent_id_of(first) in PARENT
    assert (failure_of(first), failure_of(second)) == ("QUIESCE_TIMEOUT", None)
    assert [span.attributes and span.attributes["wvs.attempt"] for span in (first, second)] == [1, 2]


def test_the_wait_for_the_lock_is_the_beginning_of_the_attempt(engine: Engine, spans: Recorded) -> None:
    task = make_task(make_workspace(), traceparent=PARENT)
    engine.serve(task.workspace_id)
    run, wait = spans.the("worker.execute_task"), spans.the("worker.acquire_lock")
    assert run.context is not None
    assert parent_id_of(wait) == f"{run.context.span_id:016x}"
    assert run.start_time == wait.start_time
    assert wait.end_time is not None


def test_what_prepare_ends_is_in_the_trace_too(engine: Engine, spans: Recorded) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    task = make_task(workspace, Op.SET_CURRENT, snapshot=snapshot, traceparent=PARENT)
    engine.serve(task.workspace_id)
    assert fresh(task).status == "SUCCEEDED"
    assert trace_of(spans.the("worker.execute_task")) == TRACE


def test_the_executor_is_asked_within_the_attempts_span(engine: Engine, fake: FakeExecutor, spans: Recorded) -> None:
    task = unknown(make_workspace(), traceparent=PARENT)
    seen: list[str] = []

    def note(request: ExecuteTask, stop: StopSignal) -> None:
        seen.append(f"{request.attempt} {request.request_id} {structlog.contextvars.get_contextvars()['attempt']}")

    fake.on_execute.append(note)
    engine.serve(task.workspace_id)
    assert fake.probed
    row = fresh(task)
    assert seen == [f"{row.attempt} {row.request_id} {row.attempt}"]


def test_bound_ids_never_outlive_the_bell(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    engine.serve(make_task(make_workspace()).workspace_id)
    assert structlog.contextvars.get_contextvars() == {}

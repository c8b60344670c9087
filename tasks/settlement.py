"""How a run ends in the table: the short transactions after the executor has spoken (SPEC §6).

Each holds STATE, then the task row, and writes only if the row is still RUNNING with this run's fence (G9): all of it
or nothing. A run that finds it is not has been overtaken and changes nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, cast

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction

from executor import failpoints
from executor.contract import ExecutorFault, FaultReason, Outcome
from tasks import bells, doorbell, metrics, story
from tasks.audit import Actor, record
from tasks.locks import hold_state
from tasks.models import Task
from tasks.operations import Json
from tasks.registry import operation_for
from tasks.retry import backoff
from tasks.states import Status
from wvs_project.db import ClockTimestamp
from wvs_project.errors import ErrorCode, WvsError

_TRIES: Final = 5
_LONGEST_MESSAGE: Final = 4000
_TIMEOUTS: Final = (FaultReason.TIMED_OUT, FaultReason.QUIESCE_TIMEOUT)
_Settle = Callable[[Task], None]

log = structlog.get_logger(__name__)


def this_worker() -> Actor:
    """Who acts when the engine acts."""
    return Actor.this_process("worker")


def code_of(reason: FaultReason) -> str:
    """The WVS code of a task that failed for that reason (SPEC §4)."""
    if reason is FaultReason.SNAPSHOT_IN_USE:
        return ErrorCode.CONFLICT_SNAPSHOT_IN_USE.code
    return (ErrorCode.EXECUTOR_TIMEOUT if reason in _TIMEOUTS else ErrorCode.EXECUTOR_ERROR).code


def error_json(reason: FaultReason, message: str, *, attempt: int) -> dict[str, object]:
    """A task's `error` (SPEC §4)."""
    return {"code": code_of(reason), "reason": reason.value, "message": message[:_LONGEST_MESSAGE], "attempt": attempt}


def storable(value: object) -> object:
    """JSON that PostgreSQL takes: file names may hold what its text cannot (NUL, lone surrogates)."""
    if isinstance(value, str):
        return value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {str(storable(key)): storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    return value


def settle(task: Task, decide: _Settle) -> bool:
    """Run `decide` on the fresh, locked row of this run. False if the run was overtaken.

    A lost connection is tried again: whether the first try was committed is read from the row, by its fence.
    """
    for attempt in range(_TRIES):
        try:
            return _settle_once(task, decide)
        except (OperationalError, InterfaceError, WvsError) as error:
            log.warning("settle.retried", task_id=task.task_id, error=str(error))
            connection.close()
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.1 * 2**attempt)
    raise AssertionError("unreachable")


@transaction.atomic
def _settle_once(task: Task, decide: _Settle) -> bool:
    hold_state(task.workspace_id)
    row = Task.objects.locking().filter(pk=task.pk, fence=task.fence, status=Status.RUNNING).first()
    if row is None:
        log.warning("settle.overtaken", task_id=task.task_id, fence=task.fence)
        return False
    decide(row)
    return True


def succeed(task: Task, result: Json, *, error: Json | None = None) -> None:
    """RUNNING → SUCCEEDED."""
    task.move(Status.SUCCEEDED, result=storable(result), error=None)
    failpoints.hit("engine.apply.moved")
    _audit_end(task, error=error)
    failpoints.hit("engine.apply.audited")


def apply(task: Task, outcome: Outcome) -> None:
    """Effects, result and audit row together (P1-01, G9)."""
    failpoints.hit("engine.apply.begin")
    result = operation_for(task.op).apply(task, outcome)
    failpoints.hit("engine.apply.effects")
    succeed(task, result)


def die(task: Task, error: Json) -> None:
    """RUNNING → DEAD, and the domain is left with a way out."""
    error = cast(Json, storable(error))
    task.move(Status.DEAD, error=error)
    operation_for(task.op).give_up(task)
    _audit_end(task, action="task.dead", error=error)


def cancel(task: Task) -> None:
    """RUNNING → CANCELED; nothing was published. It keeps the error of an earlier attempt, if there was one."""
    task.move(Status.CANCELED)
    operation_for(task.op).give_up(task)
    _audit_end(task)


def hand_back(task: Task) -> None:
    """RUNNING → FAILED, due at once and its attempt given back: the worker has to go (G12)."""
    if task.outcome_unknown:
        # It was being probed: no attempt was begun.
        task.move(Status.FAILED, event=story.HANDED_BACK, next_run_at=ClockTimestamp())
    elif task.cancel_requested and not operation_for(task.op).irrevocable:
        cancel(task)
    else:
        returned = {"attempt": task.attempt - 1, "next_run_at": ClockTimestamp()}
        task.move(Status.FAILED, event=story.HANDED_BACK, **returned)
    doorbell.ring_on_commit(task.workspace_id)


def fail(task: Task, fault: ExecutorFault, *, backoff_base: float) -> None:
    """An attempt, or a probe, failed: to be retried, probed, canceled or dead (SPEC §6).

    A probe that failed answers nothing, so what was unknown stays unknown; save where the place itself is unusable,
    which no probe will ever see through.
    """
    error = error_json(fault.reason, fault.message, attempt=task.attempt)
    probe_again = task.outcome_unknown and fault.reason is not FaultReason.UNSAFE_PATH
    if operation_for(task.op).irrevocable:
        # What remains on disk is the sweeper's; the decision was made at the claim.
        _succeed_with_warning(task, fault)
    elif fault.outcome_unknown or probe_again:
        _wait_for_probe(task, error, due=_probe_time(task, backoff_base=backoff_base))
    elif task.cancel_requested:
        cancel(task)
    elif fault.permanent or (fault.begun and task.attempt >= task.max_attempts):
        die(task, error)
    else:
        due = _later(task, backoff_base=backoff_base)
        # What nobody took up was no attempt: no task dies of an executor that is away, however long that is.
        counted = task.attempt if fault.begun else task.attempt - 1
        task.move(Status.FAILED, attempt=counted, error=storable(error), next_run_at=due)
        bells.announce_work(task.workspace_id)


def unrecorded(task: Task, fault: ExecutorFault, *, backoff_base: float) -> None:
    """The tables refuse the outcome, which is a defect of ours: the row says so and is probed again with backoff.

    Not DEAD, whatever the attempts: what was published would be denied.
    """
    error = error_json(fault.reason, fault.message, attempt=task.attempt)
    _wait_for_probe(task, error, due=_probe_time(task, backoff_base=backoff_base))


def exhausted(task: Task) -> None:
    """The worker was lost on the last attempt, and the probe found nothing published."""
    fault = ExecutorFault(FaultReason.WORKER_LOST, "the worker was lost on the last attempt; nothing was published")
    if operation_for(task.op).irrevocable:
        _succeed_with_warning(task, fault)
    else:
        die(task, error_json(fault.reason, fault.message, attempt=task.attempt))


def _succeed_with_warning(task: Task, fault: ExecutorFault) -> None:
    warning = f"{fault.reason}: {fault.message}"
    log.warning("drop.incomplete", task_id=task.task_id, wsid=task.workspace_id, warning=warning)
    apply(task, Outcome(warnings=(warning,)))


def rescue(
    task: Task, *, backoff_base: float, actor: Actor, reason: metrics.Rescue = metrics.Rescue.WORKER_LOST
) -> None:
    """RUNNING → FAILED, outcome unknown: its worker is gone. The caller holds RUN and STATE (G11, H8).

    Probed at once if no attempt is left or a cancel waits for the answer; else after the backoff.
    """
    error = error_json(FaultReason.WORKER_LOST, "the worker was lost; the task will be probed", attempt=task.attempt)
    at_once = task.cancel_requested or task.attempt >= task.max_attempts
    due = ClockTimestamp() if at_once else _later(task, backoff_base=backoff_base)
    with story.rescue(task):
        _wait_for_probe(task, error, due=due, event=story.RESCUED)
    metrics.rescued_on_commit(reason)
    record(
        action="task.rescue",
        wsid=task.workspace_id,
        actor=actor,
        request_id=task.request_id,
        task_id=task.task_id,
        before={"status": Status.RUNNING},
        after={"status": task.status, "attempt": task.attempt},
        error=error,
    )


def _wait_for_probe(task: Task, error: Json, *, due: object, event: str | None = None) -> None:
    task.move(Status.FAILED, event=event, error=storable(error), outcome_unknown=True, next_run_at=due)
    bells.announce_work(task.workspace_id)


def _probe_time(task: Task, *, backoff_base: float) -> object:
    """A cancel waits for the answer, and not for long."""
    return ClockTimestamp() + timedelta(seconds=1) if task.cancel_requested else _later(task, backoff_base=backoff_base)


def _later(task: Task, *, backoff_base: float) -> object:
    delay = backoff(task.attempt, base=backoff_base, chance=random.random())  # noqa: S311 — jitter, not a secret
    return ClockTimestamp() + timedelta(seconds=delay)


def _audit_end(task: Task, *, action: str | None = None, error: Json | None = None) -> None:
    record(
        action=action or operation_for(task.op).audit_action,
        wsid=task.workspace_id,
        actor=this_worker(),
        request_id=task.request_id,
        task_id=task.task_id,
        before={"status": Status.RUNNING},
        after={"status": task.status, "attempt": task.attempt},
        error=error,
    )

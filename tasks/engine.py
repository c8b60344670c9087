"""The task engine (SPEC §6): claim → execute → apply, one task at a time per workspace.

The only caller of the executor.
RUN(wsid) is held from before the claim until after apply; STATE and row locks only in the short transactions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import psycopg
import structlog
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, connection, transaction

from executor import failpoints
from executor.contract import (
    ExecuteTask,
    Executor,
    ExecutorFault,
    FaultReason,
    Outcome,
    Stopped,
    StopReason,
    StopSignal,
)
from observation import tracing
from tasks import doorbell, metrics, settlement, story
from tasks.locks import Guard, GuardPool, hold_state
from tasks.models import Task
from tasks.operations import NoOp, Operation, Refused
from tasks.progress import ProgressWriter
from tasks.registry import operation_for
from tasks.settlement import settle
from tasks.states import Status
from tasks.supervisor import Supervisor, Watched
from wvs_project.db import ClockTimestamp, direct_conninfo
from wvs_project.errors import WvsError

TASKS_PER_BELL: Final = 8
SECONDS_PER_BELL: Final = 60.0
"""Fairness: then the bell is rung again and other workspaces get their turn."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """A claimed task: RUNNING with our fence, committed."""

    task: Task
    operation: Operation
    request: ExecuteTask
    probe_first: bool


class GuardLost(Exception):
    """RUN may be somebody else's by now: the row is theirs to rescue, and nothing is written."""


class Engine:
    """One per worker process, shared by its threads."""

    def __init__(self, *, executor: Executor, guards: GuardPool, supervisor: Supervisor, backoff_base: float) -> None:
        self._executor = executor
        self._guards = guards
        self._supervisor = supervisor
        self._backoff_base = backoff_base
        self._progress = ProgressWriter(direct_conninfo(application_name="wvs-progress"))
        self._stopping = False

    def stop_taking(self) -> None:
        """Shutdown, first step: take no new task; what runs goes on (G12)."""
        self._stopping = True

    def hand_back_all(self) -> None:
        """Shutdown, second step: the grace time is over, running tasks are handed back."""
        self._supervisor.stop_all(StopReason.SHUTDOWN)

    def close(self) -> None:
        """Let go of connections."""
        self._supervisor.close()
        self._progress.close()
        self._guards.close()
        self._executor.close()

    def serve(self, wsid: str) -> None:
        """Answer a bell. Never raises: whatever goes wrong, the table says what is to be done next."""
        with structlog.contextvars.bound_contextvars(wsid=wsid):
            try:
                self._serve(wsid)
            except Exception as error:
                _interrupted(error)

    def _serve(self, wsid: str) -> None:
        until = time.monotonic() + SECONDS_PER_BELL
        for _ in range(TASKS_PER_BELL):
            if self._stopping or time.monotonic() > until:
                break
            asked, looked_at = time.monotonic(), time.time_ns()
            guard = self._guards.acquire(wsid)
            if guard is None:
                # Whoever holds it looks again after letting go.
                metrics.EMPTY.inc()
                return
            try:
                if not self._run_head(wsid, guard, asked, (looked_at, time.time_ns())):
                    return
            finally:
                self._guards.release(guard)
            # Released first, then looked: a task inserted meanwhile found the lock taken and its bell was for nothing.
            if not Task.objects.has_due_head(wsid):
                return
        doorbell.ring(wsid)

    def _run_head(self, wsid: str, guard: Guard, asked: float, locked: tuple[int, int]) -> bool:
        """False: it was interrupted, and the table says what is to be done next."""
        failpoints.hit("engine.guard.taken")
        run = self._claim(wsid, asked)
        if run is None:
            return True
        with story.serving(run.task), story.execution(run.task, locked=locked) as span:
            try:
                failpoints.hit("engine.claim.committed")
                self._execute(run, guard)
            except Exception as error:
                span.fail(type(error).__name__)
                _interrupted(error)
                return False
        return True

    # — claim —

    @transaction.atomic
    def _claim(self, wsid: str, asked: float) -> Run | None:
        """The head of the workspace's live tasks, if it is due, as RUNNING. None: nothing to execute now.

        `asked`: when its locks were asked for (monotonic). Locks: RUN is held; STATE, then the task row.
        """
        try:
            there = hold_state(wsid)
        finally:
            metrics.LOCK_WAIT.observe(time.monotonic() - asked)
        task = Task.objects.lock_head(wsid) if there else None
        if task is None:
            metrics.EMPTY.inc()
            return None
        if task.state is Status.RUNNING:
            # We hold RUN, so whoever claimed it is dead.
            settlement.rescue(task, backoff_base=self._backoff_base, actor=settlement.this_worker())
            return None
        if not task.is_due:
            metrics.EMPTY.inc()
            return None
        operation = operation_for(task.op)
        fence = task.fresh_fence
        if task.outcome_unknown:
            task.move(Status.RUNNING, fence=fence, started_at=ClockTimestamp(), progress=None)
            return Run(task, operation, operation.request(task), probe_first=True)
        task.move(Status.RUNNING, fence=fence, started_at=ClockTimestamp(), attempt=task.attempt + 1, progress=None)
        failpoints.hit("engine.claim.running")
        run = _prepare(task, operation)
        if run is None:
            with story.execution(task) as span:
                span.note({"wvs.ended_by": "prepare", "wvs.status": task.status})
        return run

    # — execute —

    def _execute(self, run: Run, guard: Guard) -> None:
        """Probe if need be, execute, settle. No row lock is held while the executor works."""
        if run.probe_first:
            found = self._supervised(run, guard, partial(self._executor.probe, run.request), cancelable=False)
            if found is not _NOTHING_PUBLISHED:
                self._settle(run, found)
                return
            again = self._begin_after_probe(run)
            if again is None:
                return
            run = again
        with self._progress.following(run.task.task_id, run.request.fence) as tell:
            execute = partial(self._executor.execute, run.request, progress=tell)
            decide = self._supervised(run, guard, execute, cancelable=not run.operation.irrevocable)
        failpoints.hit("engine.executed")
        self._settle(run, decide)
        failpoints.hit("engine.apply.committed")

    def _settle(self, run: Run, decide: Callable[[Task], None]) -> None:
        """Write how the run ended. What cannot be written is said in the row, and probed again later."""
        try:
            settle(run.task, decide)
        except (IntegrityError, DataError, AssertionError) as error:
            log.exception("settle.refused", task_id=run.task.task_id)
            message = f"the outcome cannot be recorded: {type(error).__name__}: {error}"
            fault = ExecutorFault(FaultReason.INTERNAL, message, outcome_unknown=True)
            settle(run.task, partial(settlement.unrecorded, fault=fault, backoff_base=self._backoff_base))

    def _supervised(
        self, run: Run, guard: Guard, call: Callable[..., Outcome | None], *, cancelable: bool
    ) -> Callable[[Task], None]:
        """Call the executor under supervision; what to write about it. Raises GuardLost."""
        stop = StopSignal()
        deadline = time.monotonic() + run.task.timeout_seconds
        watched = Watched(run.task.task_id, guard, stop, deadline, cancelable, story.fields_of(run.task))
        self._supervisor.watch(watched)
        try:
            with story.serving(run.task):
                return self._ask(run, partial(call, stop=stop))
        finally:
            self._supervisor.unwatch(watched)
            lost = stop.reason is StopReason.GUARD_LOST
            stop.close()
            if lost:
                raise GuardLost(run.task.task_id)

    def _ask(self, run: Run, call: Callable[[], Outcome | None]) -> Callable[[Task], None]:
        try:
            outcome = call()
        except Stopped as stopped:
            tracing.fail(stopped.reason)
            return self._after_stop(run, stopped.reason)
        except ExecutorFault as fault:
            tracing.fail(fault.reason)
            code = settlement.code_of(fault.reason)
            log.warning(
                "execute.failed", code=code, reason=fault.reason, error=fault.message, unknown=fault.outcome_unknown
            )
            return self._after_fault(fault)
        except Exception as error:
            log.exception("execute.crashed")
            message = f"{type(error).__name__}: {error}"
            return self._after_fault(ExecutorFault(FaultReason.INTERNAL, message, outcome_unknown=True))
        if outcome is None:
            return _NOTHING_PUBLISHED
        return partial(settlement.apply, outcome=outcome)

    def _after_fault(self, fault: ExecutorFault) -> Callable[[Task], None]:
        return partial(settlement.fail, fault=fault, backoff_base=self._backoff_base)

    def _after_stop(self, run: Run, reason: StopReason) -> Callable[[Task], None]:
        if reason is StopReason.SHUTDOWN:
            return settlement.hand_back
        if reason is StopReason.TIMED_OUT:
            message = f"not done within {run.task.timeout_seconds} s"
            return self._after_fault(ExecutorFault(FaultReason.TIMED_OUT, message))
        return settlement.cancel

    def _begin_after_probe(self, run: Run) -> Run | None:
        """Nothing was published by an earlier attempt, and none can be any more: what now?

        Canceled, dead, or on to the next attempt, which is counted only here.
        """
        begun: list[Run | None] = []

        def decide(row: Task) -> None:
            begun.clear()
            if not row.outcome_unknown:
                # A first try was committed and only its answer lost: the attempt is counted already.
                begun.append(_prepare(row, run.operation))
            elif row.cancel_requested and not run.operation.irrevocable:
                settlement.cancel(row)
            elif row.attempt >= row.max_attempts:
                settlement.exhausted(row)
            else:
                begun.append(_next_attempt(row, run.operation))

        settle(run.task, decide)
        return begun[0] if begun else None


def _NOTHING_PUBLISHED(row: Task) -> None:  # noqa: N802 — a constant that has the shape of a decision
    raise AssertionError("a probe's empty answer is no decision")


def _interrupted(error: Exception) -> None:
    """Say it where it is known whom it served."""
    if isinstance(error, DatabaseError | InterfaceError | psycopg.Error | WvsError | GuardLost):
        log.warning("serve.interrupted", error=str(error))
    else:
        log.error("serve.failed", exc_info=error)
    connection.close()


def _next_attempt(task: Task, operation: Operation) -> Run | None:
    # Its time begins now: the probe had its own.
    Task.objects.filter(pk=task.pk).update(attempt=task.attempt + 1, outcome_unknown=False, started_at=ClockTimestamp())
    task.attempt += 1
    task.outcome_unknown = False
    return _prepare(task, operation)


def _prepare(task: Task, operation: Operation) -> Run | None:
    """The operation's own say, in the transaction of the claim; None if that ended the task."""
    try:
        answer = operation.prepare(task)
    except Refused as refused:
        settlement.die(task, settlement.error_json(refused.reason, refused.message, attempt=task.attempt))
        return None
    failpoints.hit("engine.claim.prepared")
    if isinstance(answer, NoOp):
        settlement.succeed(task, answer.result)
        return None
    return Run(task, operation, operation.request(task), probe_first=False)

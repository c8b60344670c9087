"""What the engine asks of each operation (SPEC §6).

The engine knows no Workspace and no Snapshot: the apps above register what their tasks do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from executor.contract import ExecuteTask, FaultReason, Outcome
from tasks.audit import Actor
from tasks.idempotency import IdempotencyToken
from tasks.models import Task

Json = Mapping[str, object]


class Refused(Exception):
    """`prepare` says that the task cannot be done, now or later: a permanent error (SPEC §6)."""

    def __init__(self, reason: FaultReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class NoOp:
    """`prepare` found that there is nothing to do: the task ends SUCCEEDED with this result."""

    result: Json


class Operation(Protocol):
    """One kind of task. Every method runs in a short transaction in which the engine holds RUN and STATE."""

    audit_action: str
    """Of the audit rows for accepted and ended."""
    irrevocable: bool
    """After `prepare` it can only end SUCCEEDED: faults become warnings, and cancel has no effect."""

    def prepare(self, task: Task) -> NoOp | None:
        """Check, and write what must be written before the executor acts. Repeatable.

        Raises Refused, before anything was written.
        """
        ...

    def request(self, task: Task) -> ExecuteTask:
        """What the executor is asked to do; also what it is asked to probe. Writes nothing."""
        ...

    def apply(self, task: Task, outcome: Outcome) -> Json:
        """Write what the outcome means and return the task's result."""
        ...

    def again(self, task: Task, *, token: IdempotencyToken, actor: Actor) -> Task:
        """Accept the wish of a DEAD task anew, by today's rules, as a task that names it (`params.retries`).

        Raises WvsError where the rules refuse it, as they refuse a caller. The caller holds STATE.
        """
        ...

    def give_up(self, task: Task) -> None:
        """The task ends DEAD or CANCELED with nothing published: leave the domain in a state that has a way out."""
        ...


def base_request(task: Task, **fields: object) -> ExecuteTask:
    """The part of a request that is the same for every operation."""
    assert task.fence is not None
    return ExecuteTask(
        task_id=task.task_id,
        wsid=task.workspace_id,
        op=task.op,  # type: ignore[arg-type]
        fence=task.fence,
        timeout_seconds=float(task.timeout_seconds),
        request_id=task.request_id,
        traceparent=task.traceparent,
        attempt=task.attempt,
        **fields,  # type: ignore[arg-type]
    )

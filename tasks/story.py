"""What logs and traces tell of a task (SPEC §11): whom a line serves, a line for each transition, a span for each run.

All of it comes from the task's row: what a bell or a caller says of a task is not believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.db import transaction

from observation import tracing
from observation.tracing import Attributes, Span
from tasks.states import Status

if TYPE_CHECKING:
    from tasks.models import Task

SUBMITTED: Final = "task.submitted"
CANCEL_REQUESTED: Final = "task.cancel_requested"
RESCUED: Final = "task.rescued"
HANDED_BACK: Final = "task.handed_back"
EVENTS: Final = {
    Status.RUNNING: "task.claimed",
    Status.SUCCEEDED: "task.succeeded",
    Status.FAILED: "task.retry",
    Status.CANCELED: "task.canceled",
    Status.DEAD: "task.dead",
}
"""What a transition is called, by where it leads, unless its caller knows better."""
_LEVELS: Final = {"task.retry": "warning", RESCUED: "warning", "task.dead": "error"}

log = structlog.get_logger(__name__)


def fields(
    *, request_id: str, task_id: str, wsid: str, op: str, attempt: int, traceparent: str = ""
) -> dict[str, object]:
    """What is on every line that serves a task."""
    about = {"request_id": request_id, "task_id": task_id, "wsid": wsid, "op": op, "attempt": attempt}
    trace_id = tracing.trace_id_in(traceparent)
    return about if trace_id is None else about | {"trace_id": trace_id}


def fields_of(task: Task) -> dict[str, object]:
    """The same, of a row."""
    return fields(
        request_id=task.request_id,
        task_id=task.task_id,
        wsid=task.workspace_id,
        op=str(task.op),
        attempt=task.attempt,
        traceparent=task.traceparent,
    )


def serving(task: Task) -> AbstractContextManager[None]:
    """Every line that this thread logs meanwhile says that it serves the task."""
    return structlog.contextvars.bound_contextvars(**fields_of(task))


def tell_on_commit(task: Task, event: str, *, error: object = None) -> None:
    """One line, once it is true. Who asked for it by another request than the task's is said too."""
    said = fields_of(task)
    asked_by = structlog.contextvars.get_contextvars().get("request_id")
    if asked_by not in (None, task.request_id):
        said["by_request_id"] = asked_by
    if isinstance(error, Mapping):
        said |= {"code": error.get("code"), "reason": error.get("reason"), "error": error.get("message")}
    if task.outcome_unknown:
        said["outcome_unknown"] = True
    transaction.on_commit(partial(_say, event, said))


def _say(event: str, said: dict[str, Any]) -> None:
    getattr(log, _LEVELS.get(event, "info"))(event, **said)


@contextmanager
def execution(task: Task, *, locked: tuple[int, int] | None = None) -> Iterator[Span]:
    """The span of one run, in the trace that the task was asked for in.

    `locked`: when RUN was asked for and when it was had, in nanoseconds since 1970; the task was not known before.
    """
    begun_at = locked[0] if locked else None
    with tracing.span(
        "worker.execute_task", attributes_of(task), parent=task.traceparent, kind="consumer", begun_at=begun_at
    ) as span:
        if locked:
            tracing.past("worker.acquire_lock", begun_at=locked[0], ended_at=locked[1])
        yield span


def rescue(task: Task) -> AbstractContextManager[Span]:
    """The span of a rescue, in the same trace."""
    return tracing.span("task.rescue", attributes_of(task), parent=task.traceparent)


def attributes_of(task: Task) -> Attributes:
    """Of a span."""
    return {
        "wvs.request_id": task.request_id,
        "wvs.task_id": task.task_id,
        "wvs.wsid": task.workspace_id,
        "wvs.op": str(task.op),
        "wvs.attempt": task.attempt,
    }

"""A write that was accepted: what is shown of it, at once or when its task has ended."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import RenderableType

from wvsctl.follow import follow
from wvsctl.models import Task
from wvsctl.output import lines
from wvsctl.session import Session, TaskFailed


@dataclass(frozen=True, slots=True)
class Write:
    """The JSON of every asynchronous write. `task` only under --wait; `status` is its status as last seen."""

    wsid: str
    task_id: str
    snapshot_id: str | None
    status: str
    replayed: bool
    next: str
    task: Task | None


def accepted(
    session: Session,
    *,
    wsid: str,
    task_id: str,
    status: str,
    replayed: bool,
    what: str,
    then: str,
    wait: bool,
    snapshot_id: str | None = None,
) -> None:
    """Show it. `what`: what is being done; `then`: the command that follows when it is done. Raises TaskFailed."""
    task = follow(session, task_id) if wait else None
    status = task.status if task else status
    failed = task is not None and status != "SUCCEEDED"
    following = f"wvsctl task get {task_id}" if failed else f"wvsctl {then}" if task else f"wvsctl task watch {task_id}"
    write = Write(wsid, task_id, snapshot_id, status, replayed, following, task)
    if task is None or not failed or session.output.is_json:
        session.output.result(write, lambda: _told(write, what))
    if task is not None and failed:
        raise TaskFailed(task)


def _told(write: Write, what: str) -> RenderableType:
    again = " (this key was used before: nothing is done twice)" if write.replayed else ""
    noop = write.task is not None and bool((write.task.result or {}).get("noop"))
    already = " (nothing was to be done)" if noop else ""
    return lines(
        f"{what}: task {write.task_id} {write.status}{already}{again}",
        *_warnings(write.task),
        f"next: {write.next}",
    )


def _warnings(task: Task | None) -> list[str]:
    warnings = (task.result or {}).get("warnings", []) if task else []
    return [f"warning: {warning}" for warning in warnings]

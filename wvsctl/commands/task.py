"""`wvsctl task`."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from wvsctl import options
from wvsctl.binding import command
from wvsctl.follow import follow
from wvsctl.lists import show_page
from wvsctl.models import Task
from wvsctl.output import lines, record
from wvsctl.session import Session, TaskFailed

app: Final = typer.Typer(name="task", help="What becomes of writes that take time.", no_args_is_help=True)


@command(app, "list")
def list_(
    session: Session,
    wsid: options.OfWorkspace = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only PENDING, RUNNING, SUCCEEDED, FAILED, CANCELED or DEAD.")
    ] = None,
    op: Annotated[
        str | None, typer.Option("--op", help="Only init_workspace, snapshot_create, snapshot_drop or set_current.")
    ] = None,
    limit: options.Limit = 20,
    cursor: options.Cursor = None,
    every: options.All = False,
) -> None:
    """Tasks, newest first."""
    show_page(
        session,
        lambda count, at: session.client.list_tasks(wsid=wsid, status=status, op=op, limit=count, cursor=at),
        ("TASK", "WSID", "OP", "STATUS", "ATTEMPT", "CREATED", "ERROR"),
        _row,
        limit=limit,
        cursor=cursor,
        every_page=every,
        free=("ERROR",),
    )


def _row(task: Task) -> tuple[object, ...]:
    attempt = f"{task.attempt}/{task.max_attempts}"
    reason = (task.error or {}).get("reason") or (task.error or {}).get("code")
    return task.task_id, task.wsid, task.op, task.status, attempt, task.created_at, reason


@command(app, "get")
def get(session: Session, task_id: options.TaskId) -> None:
    """One task as it is now."""
    task = session.client.get_task(task_id)
    session.output.result(task, lambda: record(task))


@command(app, "watch")
def watch(session: Session, task_id: options.TaskId, timeout: options.Timeout = None) -> None:
    """Wait until a task has ended. Exit code 0 only if it succeeded."""
    task = follow(session, task_id)
    session.output.result(task, lambda: record(task))
    if task.status != "SUCCEEDED":
        raise TaskFailed(task)


@command(app, "cancel")
def cancel(
    session: Session,
    task_id: options.TaskId,
    wait: options.Wait = False,
    timeout: options.Timeout = None,
) -> None:
    """Cancel what has not begun; ask what runs to stop. With --wait the task is shown as it ended."""
    canceled = session.client.cancel_task(task_id)
    if wait:
        task = follow(session, task_id)
        session.output.result(task, lambda: record(task))
        if task.status != "CANCELED":
            raise TaskFailed(task)
        return
    decided = canceled.status == "CANCELED"
    what = f"task {task_id} is CANCELED" if decided else f"task {task_id} is {canceled.status} and was asked to stop"
    then = f"wvsctl task {'get' if decided else 'watch'} {task_id}"
    session.output.result(canceled, lambda: lines(what, f"next: {then}"))

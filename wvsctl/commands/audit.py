"""`wvsctl audit`."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from wvsctl import options
from wvsctl.binding import command
from wvsctl.lists import show_page
from wvsctl.models import AuditEvent
from wvsctl.session import Session

app: Final = typer.Typer(name="audit", help="Who did what, when.", no_args_is_help=True)


@command(app, "list")
def list_(
    session: Session,
    wsid: options.OfWorkspace = None,
    task_id: Annotated[str | None, typer.Option("--task-id", metavar="TASK_ID", help="Only of this task.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="For example workspace.set_current.")] = None,
    limit: options.Limit = 20,
    cursor: options.Cursor = None,
    every: options.All = False,
) -> None:
    """Events, newest first."""
    show_page(
        session,
        lambda count, at: session.client.list_audit(wsid=wsid, task_id=task_id, action=action, limit=count, cursor=at),
        ("WHEN", "WSID", "ACTION", "ACTOR", "TASK", "ERROR"),
        _row,
        limit=limit,
        cursor=cursor,
        every_page=every,
        free=("ACTOR", "ERROR"),
    )


def _row(event: AuditEvent) -> tuple[object, ...]:
    error = event.payload.get("error") or {}
    actor = ":".join(filter(None, (event.actor.get("type"), event.actor.get("id"))))
    return event.ts, event.wsid, event.action, actor, event.task_id, error.get("reason") or error.get("code")

"""`wvsctl workspace`."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from wvsctl import options
from wvsctl.binding import command
from wvsctl.lists import show_page
from wvsctl.output import lines, record
from wvsctl.session import Session
from wvsctl.writes import accepted

app: Final = typer.Typer(name="workspace", help="Working directories of agents.", no_args_is_help=True)


@command(app, "create")
def create(
    session: Session,
    wsid: options.Wsid,
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="Whom it belongs to.")],
    wait: options.Wait = False,
    timeout: options.Timeout = None,
    idempotency_key: options.Key = None,
) -> None:
    """Make a workspace. It can be used when its task has succeeded."""
    made = session.client.create_workspace(wsid, owner=owner, key=session.key_for(idempotency_key))
    accepted(
        session,
        wsid=wsid,
        task_id=made.init_task_id,
        # The answer tells the workspace's state, not the task's: of a new one it is known, of another it is asked.
        status=session.client.get_task(made.init_task_id).status if made.replayed else "PENDING",
        replayed=made.replayed,
        what=f"workspace {wsid}",
        then=f"snapshot create {wsid}",
        wait=wait,
    )


@command(app, "get")
def get(session: Session, wsid: options.Wsid) -> None:
    """One workspace."""
    workspace = session.client.get_workspace(wsid)
    session.output.result(workspace, lambda: record(workspace))


@command(app, "list")
def list_(
    session: Session,
    state: Annotated[
        str | None, typer.Option("--state", help="Only PROVISIONING, ACTIVE, INIT_FAILED or DISABLED.")
    ] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="NAME", help="Only of this owner.")] = None,
    limit: options.Limit = 20,
    cursor: options.Cursor = None,
    every: options.All = False,
) -> None:
    """Workspaces, newest first."""
    show_page(
        session,
        lambda count, at: session.client.list_workspaces(state=state, owner=owner, limit=count, cursor=at),
        ("WSID", "OWNER", "STATE", "CURRENT SNAPSHOT", "CREATED"),
        lambda one: (one.wsid, one.owner, one.state, one.current_snapshot_id, one.created_at),
        limit=limit,
        cursor=cursor,
        every_page=every,
        free=("OWNER",),
    )


@command(app, "retry-init")
def retry_init(
    session: Session,
    wsid: options.Wsid,
    wait: options.Wait = False,
    timeout: options.Timeout = None,
    idempotency_key: options.Key = None,
) -> None:
    """Make the directory of an INIT_FAILED workspace after all."""
    made = session.client.retry_init(wsid, key=session.key_for(idempotency_key))
    accepted(
        session,
        wsid=wsid,
        task_id=made.task_id,
        status=made.status,
        replayed=made.replayed,
        what=f"workspace {wsid}, once more",
        then=f"workspace get {wsid}",
        wait=wait,
    )


@command(app, "disable")
def disable(session: Session, wsid: options.Wsid) -> None:
    """Disable a workspace that has no live task: it can still be read, and no longer written. Repeatable."""
    disabled = session.client.disable_workspace(wsid)
    session.output.result(
        disabled,
        lambda: lines(
            f"workspace {wsid} is {disabled.state} since {disabled.updated_at}; an operator can enable it",
            f"next: wvsctl workspace get {wsid}",
        ),
    )

"""`wvsctl snapshot`."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from wvsctl import options
from wvsctl.binding import command
from wvsctl.lists import show_page
from wvsctl.output import record
from wvsctl.session import Session
from wvsctl.writes import accepted

app: Final = typer.Typer(name="snapshot", help="Read-only copies of a workspace's tree.", no_args_is_help=True)


@command(app, "create")
def create(
    session: Session,
    wsid: options.Wsid,
    message: Annotated[str, typer.Option("--message", "-m", help="What it is for; 4096 characters at most.")] = "",
    wait: options.Wait = False,
    timeout: options.Timeout = None,
    idempotency_key: options.Key = None,
) -> None:
    """Freeze the directory and keep a copy of it."""
    made = session.client.create_snapshot(wsid, message=message, key=session.key_for(idempotency_key))
    accepted(
        session,
        wsid=wsid,
        task_id=made.task_id,
        snapshot_id=made.snapshot_id,
        status=made.status,
        replayed=made.replayed,
        what=f"snapshot {made.snapshot_id} of {wsid}",
        then=f"current set {wsid} {made.snapshot_id}",
        wait=wait,
    )


@command(app, "list")
def list_(
    session: Session,
    wsid: options.Wsid,
    limit: options.Limit = 20,
    cursor: options.Cursor = None,
    every: options.All = False,
) -> None:
    """The workspace's snapshots, newest first, without the dropped ones."""
    show_page(
        session,
        lambda count, at: session.client.list_snapshots(wsid, limit=count, cursor=at),
        ("SNAPSHOT", "CURRENT", "ENTRIES", "BYTES", "CREATED", "MESSAGE"),
        lambda one: (one.snapshot_id, one.is_current, one.entries, one.bytes, one.created_at, one.message),
        limit=limit,
        cursor=cursor,
        every_page=every,
        free=("MESSAGE",),
    )


@command(app, "get")
def get(session: Session, wsid: options.Wsid, snapshot_id: options.SnapshotId) -> None:
    """One snapshot that is not dropped."""
    snapshot = session.client.get_snapshot(wsid, snapshot_id)
    session.output.result(snapshot, lambda: record(snapshot))


@command(app, "drop")
def drop(
    session: Session,
    wsid: options.Wsid,
    snapshot_id: options.SnapshotId,
    wait: options.Wait = False,
    timeout: options.Timeout = None,
    idempotency_key: options.Key = None,
) -> None:
    """Delete a snapshot for good. Refused while it is current or a live task needs it."""
    made = session.client.drop_snapshot(wsid, snapshot_id, key=session.key_for(idempotency_key))
    accepted(
        session,
        wsid=wsid,
        task_id=made.task_id,
        snapshot_id=snapshot_id,
        status=made.status,
        replayed=made.replayed,
        what=f"drop of {snapshot_id}",
        then=f"snapshot list {wsid}",
        wait=wait,
    )

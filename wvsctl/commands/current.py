"""`wvsctl current`."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from wvsctl import options
from wvsctl.binding import command
from wvsctl.output import printable, record
from wvsctl.session import REFUSED, Session, UsageError
from wvsctl.writes import accepted

app: Final = typer.Typer(name="current", help="Which tree the agent sees: roll back and forward.", no_args_is_help=True)


@command(app, "get")
def get(session: Session, wsid: options.Wsid) -> None:
    """What `current` points at."""
    current = session.client.get_current(wsid)
    session.output.result(current, lambda: record(current))


@command(app, "set")
def set_(
    session: Session,
    wsid: options.Wsid,
    snapshot_id: options.SnapshotId,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Clone a new tree even if this snapshot is current: drop what changed.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Leave behind what is in no snapshot, unasked.")] = False,
    wait: options.Wait = False,
    timeout: options.Timeout = None,
    idempotency_key: options.Key = None,
) -> None:
    """Switch to a snapshot. What is in no snapshot stays in the old tree, which is swept some time later."""
    if not yes:
        _ask(session, wsid, snapshot_id, fresh=fresh)
    made = session.client.set_current(wsid, snapshot_id, fresh=fresh, key=session.key_for(idempotency_key))
    accepted(
        session,
        wsid=wsid,
        task_id=made.task_id,
        snapshot_id=snapshot_id,
        status=made.status,
        replayed=made.replayed,
        what=f"switch of {wsid} to {snapshot_id}",
        then=f"current get {wsid}",
        wait=wait,
    )


def _ask(session: Session, wsid: str, snapshot_id: str, *, fresh: bool) -> None:
    """Returns if the switch may be done. Nobody can know from outside what an agent wrote since, so it is asked."""
    current = session.client.get_current(wsid)
    if current.current_snapshot_id == snapshot_id and not fresh:
        return  # nothing will be switched
    newest = session.client.list_snapshots(wsid, limit=1).items
    last = f"its newest snapshot, {newest[0].snapshot_id} of {newest[0].created_at}" if newest else "it was made"
    left = f"what was written in {wsid} since {last}, is in no snapshot and stays behind in {current.current_path}"
    if not sys.stdin.isatty():
        raise UsageError(
            f"{left}; there is no terminal to ask at: keep it in a snapshot first, or say --yes",
            f"wvsctl snapshot create {wsid} --wait",
        )
    if not typer.confirm(printable(f"{left[0].upper()}{left[1:]}. Switch?"), err=True):
        session.output.say(f"nothing was done; first: wvsctl snapshot create {wsid} --wait")
        raise typer.Exit(REFUSED)

"""Rows for tests: workspaces, snapshots and tasks in any state, put straight into the tables.

They pass the services by, so that a test can begin anywhere; PostgreSQL's own rules hold for them too.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import DateTimeField
from django.db.models.expressions import Combinable

from snapshots.models import Snapshot
from tasks.audit import Actor
from tasks.idempotency import IdempotencyToken, request_hash
from tasks.models import Op, Task
from tasks.querysets import FENCE_SEQUENCE
from tasks.states import Status
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.db import ClockTimestamp
from wvs_project.ids import new_request_id, new_snapshot_id, new_task_id

ACTOR = Actor("test", "tester")


def new_wsid(prefix: str = "ws") -> str:
    """A workspace id that nobody has."""
    return f"{prefix}-{uuid.uuid4().hex[:16]}"


def new_token(key: str | None = None, body: object = None) -> IdempotencyToken:
    """What came with a write: a fresh key unless one is given."""
    return IdempotencyToken(
        key=key or uuid.uuid4().hex,
        request_hash=request_hash(method="POST", path="/test", body=body),
        request_id=new_request_id(),
    )


def from_now(seconds: float) -> Combinable:
    """A moment on PostgreSQL's clock, to be written by the statement that names it."""
    return ClockTimestamp(output_field=DateTimeField()) + timedelta(seconds=seconds)


def next_fence() -> int:
    """A fencing token higher than every one before."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(%s)", [FENCE_SEQUENCE])
        return int(cursor.fetchone()[0])


def make_workspace(wsid: str | None = None, *, state: str = WorkspaceState.ACTIVE, **fields: Any) -> Workspace:
    """A workspace in any state; an ACTIVE one has its first tree, a DISABLED one was ACTIVE."""
    wsid = wsid or new_wsid()
    initialised = state in (WorkspaceState.ACTIVE, WorkspaceState.DISABLED)
    values: dict[str, Any] = {
        "root_path": Workspace.root_for(wsid),
        "owner": "team-a",
        "state": state,
        "current_path": f"{Workspace.root_for(wsid)}/live/initial" if initialised else None,
        "state_before_disable": WorkspaceState.ACTIVE if state == WorkspaceState.DISABLED else None,
    }
    return Workspace.objects.create(wsid=wsid, **(values | fields))


def make_snapshot(workspace: Workspace, *, dropped: bool = False, **fields: Any) -> Snapshot:
    """A complete snapshot, kept or dropped."""
    snapshot_id = fields.pop("snapshot_id", None) or new_snapshot_id()
    values: dict[str, Any] = {
        "fs_path": workspace.snapshot_path(snapshot_id),
        "message": "a message",
        "entries": 3,
        "bytes": 1024,
        "manifest_digest": "sha256:" + "0" * 64,
        "created_by": new_task_id(),
    }
    if dropped:
        values |= {"deleted_at": ClockTimestamp(), "deleted_by": new_task_id()}
    return Snapshot.objects.create(snapshot_id=snapshot_id, workspace=workspace, **(values | fields))


def make_current(workspace: Workspace, snapshot: Snapshot) -> Workspace:
    """Point the workspace at the snapshot, as a set_current would have."""
    workspace.point_at(snapshot_id=snapshot.snapshot_id, path=workspace.live_path(f"live-{uuid.uuid4()}"))
    return workspace


def make_task(
    workspace: Workspace,
    op: str = Op.SNAPSHOT_CREATE,
    *,
    status: str = Status.PENDING,
    snapshot: Snapshot | str | None = None,
    **fields: Any,
) -> Task:
    """A task in any status, with the columns that such a row has. A claimed one has attempt 1 and a fence."""
    params: dict[str, Any] = fields.pop("params", {})
    if op != Op.INIT_WORKSPACE:
        given = snapshot.snapshot_id if isinstance(snapshot, Snapshot) else snapshot
        params = {"snapshot_id": given or new_snapshot_id()} | params
    token = new_token()
    values: dict[str, Any] = {
        "task_id": new_task_id(),
        "params": params,
        "idempotency_key": token.key,
        "request_hash": token.request_hash,
        "request_id": token.request_id,
        "actor": ACTOR.as_json(),
    }
    if status not in (Status.PENDING, Status.CANCELED):
        values |= {"attempt": 1, "fence": next_fence(), "started_at": ClockTimestamp()}
    if Status(status).is_finished:
        values |= {"ended_at": ClockTimestamp()}
    task = Task.objects.create(workspace=workspace, op=op, status=status, **(values | fields))
    return Task.objects.get(pk=task.pk)


def make_due(task: Task) -> None:
    """Let the time of its retry come."""
    Task.objects.filter(pk=task.pk).update(next_run_at=ClockTimestamp())

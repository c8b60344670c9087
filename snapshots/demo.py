"""A believable set of rows without a disk behind it, to look at the admin, the API and wvsctl (SPEC §9).

Every row keeps every rule that PostgreSQL holds. What is alive in it is due in a month: no worker touches it before.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from executor.contract import INITIAL_LIVE_ID, FaultReason, live_id_for
from snapshots.demo_days import write_kept_days
from snapshots.models import Snapshot
from tasks.audit import Actor
from tasks.days import count_days
from tasks.models import AuditEvent, Op, Task
from tasks.registry import operation_for
from tasks.settlement import error_json
from tasks.states import Status
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.db import read_clock

PREFIX: Final = "demo-"
_BATCH: Final = 500
_MONTH: Final = timedelta(days=30)
_LAST_HOURS: Final = timedelta(hours=6)
"""The story's last snapshots are older than this, so that what follows them has happened too."""
_OWNERS: Final = ("team-search", "team-billing", "team-robots", "nightly-evals")
_NAMES: Final = ("crawler", "refactor", "triage", "migrate", "report", "fuzz", "review", "train")
_MESSAGES: Final = (
    "before the big refactoring",
    "all tests pass",
    "dependencies raised",
    "",
    "checkpoint",
    "after the review's remarks",
)
_STATES: Final = (
    WorkspaceState.ACTIVE,
    WorkspaceState.DISABLED,
    WorkspaceState.INIT_FAILED,
    WorkspaceState.PROVISIONING,
    *[WorkspaceState.ACTIVE] * 8,
)
_DEATHS: Final = {
    Op.INIT_WORKSPACE: (FaultReason.UNSAFE_PATH, "/ws/x is not empty and not ours: move it away, then retry-init"),
    Op.SNAPSHOT_CREATE: (FaultReason.QUIESCE_TIMEOUT, "no FROZEN within 30 s of the request"),
    Op.SNAPSHOT_DROP: (FaultReason.SNAPSHOT_IN_USE, "snapshot is in use: it is current"),
    Op.SET_CURRENT: (FaultReason.NO_SPACE, "No space left on device"),
}
_CLIENT: Final = Actor("anonymous", "anonymous")
_WORKER: Final = Actor("worker", "worker-0:demo")


@dataclass
class Rows:
    """What is to be written, in this order. The pointers of the workspaces come after their snapshots."""

    workspaces: list[Workspace] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    events: list[AuditEvent] = field(default_factory=list)
    pointers: list[tuple[str, str, str]] = field(default_factory=list)
    """wsid, snapshot_id, path."""


def write_story(*, workspaces: int, seed: int, now: datetime) -> Rows:
    """So many workspaces with up to four weeks of history each; the same for the same seed and moment."""
    rows = Rows()
    story = _Story(rows, random.Random(seed), now)  # noqa: S311 — a story, no secret
    for number in range(workspaces):
        story.tell(number, _STATES[number % len(_STATES)])
    return rows


class _Story:
    """Writes one workspace after the other. Time runs forward within each."""

    def __init__(self, rows: Rows, dice: random.Random, now: datetime) -> None:
        self._rows = rows
        self._dice = dice
        self._now = now
        self._fence = 0
        self._at = now
        self._wsid = ""

    def tell(self, number: int, state: WorkspaceState) -> None:
        """One workspace in that state, and how it came to be in it."""
        self._wsid = f"{PREFIX}{self._dice.choice(_NAMES)}-{number:04d}"
        self._at = self._now - timedelta(days=self._dice.uniform(5, 28))
        initialised = state in (WorkspaceState.ACTIVE, WorkspaceState.DISABLED)
        row = Workspace(
            wsid=self._wsid,
            root_path=Workspace.root_for(self._wsid),
            owner=self._dice.choice(_OWNERS),
            state=state,
            state_before_disable=WorkspaceState.ACTIVE if state is WorkspaceState.DISABLED else None,
            created_at=self._at,
            updated_at=self._at,
        )
        row.current_path = row.live_path(INITIAL_LIVE_ID) if initialised else None
        self._rows.workspaces.append(row)
        params = {"owner": row.owner}
        if state is WorkspaceState.INIT_FAILED:
            self._task(Op.INIT_WORKSPACE, Status.DEAD, params)
        elif state is WorkspaceState.PROVISIONING:
            self._task(Op.INIT_WORKSPACE, Status.PENDING, params)
        else:
            self._task(Op.INIT_WORKSPACE, Status.SUCCEEDED, params, {"current_path": row.current_path})
            self._work(row, number)
        if state is WorkspaceState.DISABLED:
            self._event("workspace.disable", _CLIENT, before={"state": "ACTIVE"}, after={"state": "DISABLED"})

    def _work(self, row: Workspace, number: int) -> None:
        """Snapshots, switches, drops; now and then something dies or is canceled."""
        kept: list[Snapshot] = []
        for _ in range(self._dice.randint(8, 24)):
            later = self._at + timedelta(hours=self._dice.uniform(2, 60))
            if later > self._now - _LAST_HOURS:
                break
            self._at = later
            kept.append(self._snapshot(row))
            if len(kept) > self._dice.randint(3, 9):
                self._drop(kept.pop(0))
        if kept:
            current = self._dice.choice(kept)
            task = self._task(Op.SET_CURRENT, Status.SUCCEEDED, {"snapshot_id": current.pk, "fresh": False})
            path = row.live_path(live_id_for(task.task_id))
            task.result = {"snapshot_id": current.pk, "current_path": path, "agent": {"attached": True}}
            self._rows.pointers.append((row.wsid, current.pk, path))
        dead = (Op.SNAPSHOT_CREATE, Op.SET_CURRENT, Op.SNAPSHOT_DROP)[number % 3]
        self._task(dead, Status.DEAD, {"snapshot_id": kept[-1].pk if kept else self._id("snap")})
        self._task(Op.SNAPSHOT_CREATE, Status.CANCELED, {"snapshot_id": self._id("snap"), "message": ""})
        if row.state == WorkspaceState.ACTIVE and number % 4 == 0:
            self._task(Op.SNAPSHOT_CREATE, Status.PENDING, {"snapshot_id": self._id("snap"), "message": "tonight"})

    def _snapshot(self, row: Workspace) -> Snapshot:
        snapshot_id, message = self._id("snap"), self._dice.choice(_MESSAGES)
        facts = {"entries": self._dice.randint(40, 60_000), "bytes": self._dice.randint(10**5, 10**10)}
        task = self._task(
            Op.SNAPSHOT_CREATE,
            Status.SUCCEEDED,
            {"snapshot_id": snapshot_id, "message": message},
            {"snapshot_id": snapshot_id, **facts, "clone_driver": "juicefs", "agent": {"attached": True}},
        )
        assert task.ended_at is not None
        snapshot = Snapshot(
            snapshot_id=snapshot_id,
            workspace=row,
            fs_path=row.snapshot_path(snapshot_id),
            message=message,
            manifest_digest=f"sha256:{self._dice.getrandbits(256):064x}",
            created_by=task.task_id,
            created_at=task.ended_at,
            **facts,
        )
        self._rows.snapshots.append(snapshot)
        return snapshot

    def _drop(self, snapshot: Snapshot) -> None:
        task = self._task(
            Op.SNAPSHOT_DROP, Status.SUCCEEDED, {"snapshot_id": snapshot.pk}, {"snapshot_id": snapshot.pk}
        )
        snapshot.deleted_at, snapshot.deleted_by = task.ended_at, task.task_id

    def _task(self, op: Op, status: Status, params: dict[str, Any], result: dict[str, Any] | None = None) -> Task:
        """One that came to this end within seconds, with the events of its acceptance and of its end."""
        self._at = min(self._at + timedelta(minutes=self._dice.uniform(1, 50)), self._now)
        task = Task(
            task_id=self._id("task"),
            workspace_id=self._wsid,
            op=op,
            status=status,
            idempotency_key=f"{self._dice.getrandbits(128):032x}",
            request_hash=f"{self._dice.getrandbits(256):064x}",
            request_id=self._id("req"),
            actor=_CLIENT.as_json(),
            created_at=self._at,
            next_run_at=self._at if status.is_finished else self._now + _MONTH,
            params=params,
            result=result,
        )
        self._rows.tasks.append(task)
        self._event(operation_for(op).audit_action, _CLIENT, task, after={"status": "PENDING", **params})
        if status.is_finished:
            self._end(task, status)
        return task

    def _end(self, task: Task, status: Status) -> None:
        begun = status is not Status.CANCELED
        if begun:
            self._fence += 1
            task.fence, task.started_at = self._fence, self._at + timedelta(milliseconds=self._dice.randint(3, 40))
            task.attempt = task.max_attempts if status is Status.DEAD else 1
        self._at += timedelta(seconds=self._dice.uniform(0.1, 6))
        task.ended_at = self._at
        if status is Status.DEAD:
            reason, message = _DEATHS[Op(task.op)]
            task.error = error_json(reason, message, attempt=task.attempt)
        action = {Status.DEAD: "task.dead", Status.CANCELED: "task.cancel"}.get(
            status, operation_for(task.op).audit_action
        )
        after = {"status": status.value, "attempt": task.attempt}
        self._event(action, _WORKER if begun else _CLIENT, task, before={"status": "RUNNING"}, after=after)

    def _event(self, action: str, actor: Actor, task: Task | None = None, **payload: object) -> None:
        self._rows.events.append(
            AuditEvent(
                ts=self._at,
                wsid=self._wsid,
                actor=actor.as_json(),
                action=action,
                request_id=task.request_id if task else "",
                task_id=task.task_id if task else None,
                payload={"before": None, "after": None, "error": task.error if task else None} | payload,
            )
        )

    def _id(self, kind: str) -> str:
        """A UUID of version 7 of the story's own time."""
        moment = int(self._at.timestamp() * 1000) << 80
        return f"{kind}-{UUID(int=moment | 7 << 76 | 2 << 62 | self._dice.getrandbits(62))}"


def batches(rows: Rows) -> Iterator[tuple[str, int]]:
    """Write them all; yields what was written and how many. The caller is in a transaction."""
    Workspace.objects.bulk_create(rows.workspaces, batch_size=_BATCH)
    yield "workspaces", len(rows.workspaces)
    Snapshot.objects.bulk_create(rows.snapshots, batch_size=_BATCH)
    yield "snapshots", len(rows.snapshots)
    Task.objects.bulk_create(rows.tasks, batch_size=_BATCH)
    yield "tasks", len(rows.tasks)
    count_days()
    write_kept_days(rows.snapshots, now=read_clock())
    AuditEvent.objects.bulk_create(rows.events, batch_size=_BATCH)
    for wsid, snapshot_id, path in rows.pointers:
        Workspace.objects.filter(pk=wsid).update(current_snapshot_id=snapshot_id, current_path=path)
    yield "audit events", len(rows.events)

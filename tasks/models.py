"""The queue and the audit trail (SPEC §5). PostgreSQL holds every rule that must never be broken."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pgtrigger
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.fields.json import KeyTextTransform

from tasks import bells, metrics, story
from tasks.querysets import TaskQuerySet
from tasks.states import FINISHED, LIVE, TRANSITIONS, Status
from wvs_project.db import ClockTimestamp, CompositeForeignKey, Nextval
from wvs_project.ids import SNAPSHOT_ID_PATTERN, TASK_ID_PATTERN

TASK_SEQUENCE = "task_seq"
_LIVE = Q(status__in=[status.value for status in LIVE])
_FINISHED = Q(status__in=[status.value for status in FINISHED])


class Op(models.TextChoices):
    """What a task does."""

    INIT_WORKSPACE = "init_workspace"
    SNAPSHOT_CREATE = "snapshot_create"
    SNAPSHOT_DROP = "snapshot_drop"
    SET_CURRENT = "set_current"


_NEEDS_LIVE_SNAPSHOT = Q(op=Op.SET_CURRENT.value) & _LIVE | Q(op=Op.SNAPSHOT_DROP.value, status=Status.PENDING.value)
"""A drop is PENDING until its claim, which marks the snapshot in the same transaction."""


metrics.initialise(Op.values)


def _list_index(value: str, condition: Q) -> models.Index:
    return models.Index(name=f"tasks_list_{value.lower()}", fields=["-created_at", "-task_id"], condition=condition)


class LostRace(Exception):
    """Somebody else moved the task first; nothing was written."""


class Task(models.Model):
    """One accepted request to the executor. The table is the queue and the only retry queue (SPEC §6)."""

    task_id = models.TextField(primary_key=True)
    seq = models.BigIntegerField(unique=True, db_default=Nextval(TASK_SEQUENCE), editable=False)
    workspace = models.ForeignKey(
        "workspaces.Workspace", on_delete=models.PROTECT, db_column="wsid", db_index=False, related_name="tasks"
    )
    op = models.TextField(choices=Op.choices)
    status = models.TextField(choices=Status.choices, default=Status.PENDING)
    idempotency_key = models.TextField()
    request_hash = models.TextField()
    request_id = models.TextField()
    traceparent = models.TextField(default="", blank=True)
    actor = models.JSONField()
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    attempt = models.IntegerField(default=0)
    max_attempts = models.IntegerField(default=5)
    fence = models.BigIntegerField(null=True)
    outcome_unknown = models.BooleanField(default=False)
    next_run_at = models.DateTimeField(db_default=ClockTimestamp())
    timeout_seconds = models.IntegerField(default=300)
    cancel_requested = models.BooleanField(default=False)
    progress = models.JSONField(null=True)
    params = models.JSONField(default=dict)
    result = models.JSONField(null=True)
    error = models.JSONField(null=True)

    snapshot_id = models.GeneratedField(
        expression=KeyTextTransform("snapshot_id", "params"), output_field=models.TextField(null=True), db_persist=True
    )
    is_live = models.GeneratedField(
        # True or NULL, never false: a composite foreign key is checked only where no column is NULL.
        expression=Case(When(_LIVE, then=Value(True))),
        output_field=models.BooleanField(null=True),
        db_persist=True,
    )
    ref_snapshot_id = models.GeneratedField(
        expression=Case(When(_NEEDS_LIVE_SNAPSHOT, then=KeyTextTransform("snapshot_id", "params"))),
        output_field=models.TextField(null=True),
        db_persist=True,
    )
    ref_is_live = models.GeneratedField(
        expression=Case(When(_NEEDS_LIVE_SNAPSHOT, then=Value(True))),
        output_field=models.BooleanField(null=True),
        db_persist=True,
    )

    objects: ClassVar[TaskQuerySet] = TaskQuerySet.as_manager()  # type: ignore[assignment]

    workspace_id: str
    is_due: bool
    """Only on rows of `head` and `lock_head`: whether next_run_at has come."""
    fresh_fence: int
    """Only on rows of `lock_head`."""
    age: timedelta | None = None
    """Of a locked row: how long ago it was accepted, by PostgreSQL's clock when it was locked."""
    overdue: timedelta | None = None
    """Of a locked row: how long ago it was due."""

    class Meta:
        db_table = "tasks"
        constraints = [
            models.CheckConstraint(name="tasks_id_pattern", condition=Q(task_id__regex=TASK_ID_PATTERN)),
            models.CheckConstraint(name="tasks_op_known", condition=Q(op__in=Op.values)),
            models.CheckConstraint(name="tasks_status_known", condition=Q(status__in=Status.values)),
            models.CheckConstraint(
                name="tasks_attempt_within_max", condition=Q(attempt__gte=0, attempt__lte=F("max_attempts"))
            ),
            models.CheckConstraint(name="tasks_timeout_positive", condition=Q(timeout_seconds__gt=0)),
            models.CheckConstraint(
                name="tasks_ended_iff_finished",
                condition=(_FINISHED & Q(ended_at__isnull=False)) | (_LIVE & Q(ended_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="tasks_running_has_fence",
                condition=~Q(status=Status.RUNNING.value) | Q(fence__isnull=False, started_at__isnull=False),
            ),
            models.CheckConstraint(name="tasks_unknown_only_while_live", condition=Q(outcome_unknown=False) | _LIVE),
            models.CheckConstraint(
                name="tasks_snapshot_op_names_one",
                # Without the null test a JSON null would pass: a CHECK on NULL holds, and so does a foreign key.
                condition=Q(op=Op.INIT_WORKSPACE.value)
                | Q(snapshot_id__isnull=False, snapshot_id__regex=SNAPSHOT_ID_PATTERN),
            ),
            models.UniqueConstraint(name="tasks_idempotency", fields=["workspace", "op", "idempotency_key"]),
            models.UniqueConstraint(
                name="tasks_one_running_per_workspace", fields=["workspace"], condition=Q(status=Status.RUNNING.value)
            ),
            models.UniqueConstraint(
                name="tasks_one_live_drop_per_snapshot",
                fields=["snapshot_id"],
                condition=Q(op=Op.SNAPSHOT_DROP.value) & _LIVE,
            ),
            # P0-01, G6: while set_current is live, or a drop waits, its snapshot is of this workspace and not dropped.
            CompositeForeignKey(
                name="tasks_ref_snapshot_is_live",
                columns=["wsid", "ref_snapshot_id", "ref_is_live"],
                to_table="snapshots",
                to_columns=["wsid", "snapshot_id", "is_live"],
            ),
            # G21: while a task is live, its workspace is not DISABLED.
            CompositeForeignKey(
                name="tasks_live_in_enabled_workspace",
                columns=["wsid", "is_live"],
                to_table="workspaces",
                to_columns=["wsid", "is_enabled"],
            ),
        ]
        indexes = [
            # lock_head, the scheduler's heads, the blockers of disable.
            models.Index(name="tasks_live_by_seq", fields=["workspace", "seq"], condition=_LIVE),
            # Who refers to a snapshot: drop, is-it-in-use, the foreign key's own check.
            models.Index(name="tasks_live_by_snapshot", fields=["snapshot_id"], condition=_LIVE),
            models.Index(
                name="tasks_ref_snapshot", fields=["ref_snapshot_id"], condition=Q(ref_snapshot_id__isnull=False)
            ),
            # The scheduler's rescue.
            models.Index(name="tasks_running", fields=["started_at"], condition=Q(status=Status.RUNNING.value)),
            # GET /v1/tasks, with and without wsid.
            models.Index(name="tasks_by_workspace", fields=["workspace", "-created_at", "-task_id"]),
            models.Index(name="tasks_by_created", fields=["-created_at", "-task_id"]),
            # The same by status and by op, whatever is rare: else the newest of the few would be sought through all the
            # others. One for each value, for PostgreSQL takes a common value to be common among the newest too, and
            # would look there. Each row is in two, and RUNNING ones are found by tasks_running. By status also: how
            # many wait, and which wait for longest.
            *(_list_index(status, Q(status=status.value)) for status in Status if status is not Status.RUNNING),
            *(_list_index(op, Q(op=op.value)) for op in Op),
            # What ended since some moment, counted without a look at the rows: the days' counts and the dashboard.
            models.Index(name="tasks_by_end", fields=["ended_at", "op", "status"], condition=_FINISHED),
            # The DEAD ones of the last days, newest first: few, among very many.
            models.Index(name="tasks_dead_by_end", fields=["-ended_at"], condition=Q(status=Status.DEAD.value)),
        ]
        permissions = [("operate_task", "Can retry and cancel tasks")]
        triggers = [
            pgtrigger.FSM(
                name="tasks_transitions",
                field="status",
                transitions=[(old.value, new.value) for old, new in TRANSITIONS],
            )
        ]

    def __str__(self) -> str:
        return f"{self.task_id} {self.op} {self.status}"

    @property
    def state(self) -> Status:
        """The status as its enumeration."""
        return Status(self.status)

    def move(self, to: Status, *, event: str | None = None, **fields: Any) -> None:
        """The only writer of `status`: compare-and-set on the status and the fence this object was read with (G9).

        `fields` are written with it. A move to a finished state stamps ended_at and rings for those who wait for it
        when the transaction commits. Then it is told to the log, too, as `event` where that says more than the state.
        Raises LostRace when the row is no longer as this object says; an edge that the table does not have is refused
        by PostgreSQL.
        """
        if to.is_finished:
            fields |= {"ended_at": ClockTimestamp(), "outcome_unknown": False}
        moved = Task.objects.filter(pk=self.pk, status=self.status, fence=self.fence).update(status=to, **fields)
        if not moved:
            raise LostRace(f"{self.pk} is no longer {self.status} with fence {self.fence}")
        self.status = to
        for name, value in fields.items():
            if not hasattr(value, "resolve_expression"):
                setattr(self, name, value)
        story.tell_on_commit(self, event or story.EVENTS[to], error=fields.get("error"))
        metrics.moved_on_commit(self, tried_again=event != story.HANDED_BACK)
        if to.is_finished:
            bells.announce_finish(self.pk)


class TaskDay(models.Model):
    """How many tasks of an op ended with a status on a day (UTC). Stays when the tasks go (SPEC §9)."""

    day = models.DateField()
    op = models.TextField(choices=Op.choices)
    status = models.TextField(choices=Status.choices)
    count = models.BigIntegerField()
    counted_to = models.DateTimeField(null=True)
    """What ended at this moment or later is not in the count; None: the day is counted whole."""

    class Meta:
        db_table = "task_days"
        constraints = [
            # Also what the dashboard reads by day.
            models.UniqueConstraint(name="task_days_once", fields=["day", "op", "status"]),
            models.CheckConstraint(name="task_days_counted", condition=Q(count__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.op} {self.status}: {self.count}"


class AuditEvent(models.Model):
    """Who did what, when, and what it changed. Append-only."""

    event_id = models.BigAutoField(primary_key=True)
    ts = models.DateTimeField(db_default=ClockTimestamp())
    wsid = models.TextField()
    actor = models.JSONField()
    action = models.TextField()
    request_id = models.TextField(default="", blank=True)
    task_id = models.TextField(null=True)
    payload = models.JSONField(default=dict)

    class Meta:
        db_table = "audit"
        indexes = [
            # GET /v1/audit by workspace, by task, by action, and unfiltered.
            models.Index(name="audit_by_workspace", fields=["wsid", "-ts", "-event_id"]),
            models.Index(name="audit_by_task", fields=["task_id"]),
            models.Index(name="audit_by_action", fields=["action", "-ts", "-event_id"]),
            models.Index(name="audit_by_ts", fields=["-ts", "-event_id"]),
        ]
        triggers = [
            pgtrigger.Protect(name="audit_append_only", operation=pgtrigger.Update | pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.event_id} {self.action} {self.wsid}"

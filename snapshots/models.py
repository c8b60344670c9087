"""Snapshots (SPEC §5)."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Case, Q, Value, When

from snapshots.querysets import SnapshotQuerySet
from wvs_project.db import ClockTimestamp
from wvs_project.ids import SNAPSHOT_ID_PATTERN

_KEPT = Q(deleted_at__isnull=True)


class Snapshot(models.Model):
    """A read-only copy of a workspace's tree at one moment."""

    snapshot_id = models.TextField(primary_key=True)
    workspace = models.ForeignKey(
        "workspaces.Workspace", on_delete=models.PROTECT, db_column="wsid", db_index=False, related_name="snapshots"
    )
    fs_path = models.TextField()
    message = models.TextField(default="", blank=True)
    entries = models.BigIntegerField()
    bytes = models.BigIntegerField()
    manifest_digest = models.TextField()
    created_by = models.TextField(null=True)
    """The task that made it."""
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    deleted_at = models.DateTimeField(null=True)
    deleted_by = models.TextField(null=True)
    """The task that dropped it."""
    orphaned_at = models.DateTimeField(null=True)
    """Since when its directory is known to be missing."""

    is_live = models.GeneratedField(
        expression=Case(When(_KEPT, then=Value(True)), default=Value(False)),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    objects: ClassVar[SnapshotQuerySet] = SnapshotQuerySet.as_manager()  # type: ignore[assignment]

    workspace_id: str
    is_current: bool
    """Only on rows of `saying_which_is_current`."""

    class Meta:
        db_table = "snapshots"
        permissions = [("operate_snapshot", "Can drop snapshots and switch to them")]
        constraints = [
            models.CheckConstraint(name="snapshots_id_pattern", condition=Q(snapshot_id__regex=SNAPSHOT_ID_PATTERN)),
            models.CheckConstraint(name="snapshots_counts_sane", condition=Q(entries__gte=0, bytes__gte=0)),
            models.CheckConstraint(
                name="snapshots_deleted_by_a_task",
                condition=Q(deleted_at__isnull=True, deleted_by__isnull=True)
                | Q(deleted_at__isnull=False, deleted_by__isnull=False),
            ),
            models.UniqueConstraint(name="snapshots_path", fields=["workspace", "fs_path"]),
            # The target of workspaces_current_snapshot_is_live and tasks_ref_snapshot_is_live.
            models.UniqueConstraint(name="snapshots_live_key", fields=["workspace", "snapshot_id", "is_live"]),
        ]
        indexes = [
            # GET …/snapshots.
            models.Index(name="snapshots_kept", fields=["workspace", "-created_at", "-snapshot_id"], condition=_KEPT),
            # How many are kept and how large they are, without a look at the rows.
            models.Index(
                name="snapshots_kept_sizes",
                fields=["created_at"],
                include=["snapshot_id", "entries", "bytes"],
                condition=_KEPT,
            ),
            # The admin's list of the dropped, newest first: they may be few, among very many.
            models.Index(name="snapshots_dropped", fields=["-snapshot_id"], condition=~_KEPT),
            # Those whose directory is missing: none, or a few.
            models.Index(
                name="snapshots_orphaned",
                fields=["-orphaned_at"],
                condition=_KEPT & Q(orphaned_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.snapshot_id} of {self.workspace_id}"

    def mark_dropped(self, task_id: str) -> None:
        """Set deleted_at, once. The caller holds STATE; PostgreSQL refuses while something refers to it (P0-01)."""
        Snapshot.objects.filter(pk=self.pk, deleted_at__isnull=True).update(
            deleted_at=ClockTimestamp(), deleted_by=task_id
        )


class SnapshotDay(models.Model):
    """What was kept when last looked on a day (UTC): how many snapshots, with how many entries and bytes (SPEC §9)."""

    day = models.DateField(primary_key=True)
    snapshots = models.BigIntegerField()
    entries = models.BigIntegerField()
    bytes = models.BigIntegerField()
    taken_at = models.DateTimeField()

    class Meta:
        db_table = "snapshot_days"

    def __str__(self) -> str:
        return f"{self.day}: {self.snapshots}"


class DriftCount(models.Model):
    """How much drift of a kind the last look at all workspaces found (SPEC §9). A kind never looked for has no row."""

    kind = models.CharField(primary_key=True, max_length=32)
    count = models.BigIntegerField()
    looked_at = models.DateTimeField()

    class Meta:
        db_table = "drift_counts"

    def __str__(self) -> str:
        return f"{self.kind}: {self.count}"

"""Snapshots, asked for in the words of the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from django.db.models import F, Q, QuerySet

from wvs_project.db import ClockTimestamp

if TYPE_CHECKING:
    from snapshots.models import Snapshot  # noqa: F401 — named in the base class

PURGED: Final = "purge-disabled"
"""In `deleted_by`, where no task dropped a snapshot."""


class SnapshotQuerySet(QuerySet["Snapshot"]):
    """Nothing here locks."""

    def of_workspace(self, wsid: str) -> Self:
        """Those of one workspace."""
        return self.filter(workspace_id=wsid)

    def kept(self) -> Self:
        """Not dropped, nor about to be: no drop of it was begun."""
        return self.filter(deleted_at__isnull=True)

    def orphaned(self) -> Self:
        """Kept, says the row, and yet the directory is missing."""
        return self.kept().filter(orphaned_at__isnull=False)

    def mark_purged(self) -> int:
        """deleted_at on all of them that are kept: they went with their workspace's trees, by no task. How many."""
        return self.kept().update(deleted_at=ClockTimestamp(), deleted_by=PURGED)

    def mark_orphaned(self) -> int:
        """orphaned_at on those that lack it: their directories are missing since now, as far as we know. How many."""
        return self.filter(orphaned_at__isnull=True).update(orphaned_at=ClockTimestamp())

    def clear_orphaned(self) -> int:
        """Their directories are there. How many."""
        return self.update(orphaned_at=None)

    def saying_which_is_current(self) -> Self:
        """Each with `is_current`: whether its workspace points at it."""
        return self.annotate(
            is_current=Q(workspace__current_snapshot_id__isnull=False, pk=F("workspace__current_snapshot_id"))
        )

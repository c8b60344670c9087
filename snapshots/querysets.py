"""Snapshots, asked for in the words of the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.db.models import F, Q, QuerySet

if TYPE_CHECKING:
    from snapshots.models import Snapshot  # noqa: F401 — named in the base class


class SnapshotQuerySet(QuerySet["Snapshot"]):
    """Nothing here locks."""

    def of_workspace(self, wsid: str) -> Self:
        """Those of one workspace."""
        return self.filter(workspace_id=wsid)

    def kept(self) -> Self:
        """Not dropped, nor about to be: no drop of it was begun."""
        return self.filter(deleted_at__isnull=True)

    def saying_which_is_current(self) -> Self:
        """Each with `is_current`: whether its workspace points at it."""
        return self.annotate(
            is_current=Q(workspace__current_snapshot_id__isnull=False, pk=F("workspace__current_snapshot_id"))
        )

"""Workspaces, asked for in the words of the domain."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Self

from django.db.models import QuerySet

from workspaces.states import WorkspaceState
from wvs_project.db import ClockTimestamp

if TYPE_CHECKING:
    from workspaces.models import Order, Workspace


class WorkspaceQuerySet(QuerySet["Workspace"]):
    """Nothing here locks unless its name says so."""

    def disabled_before(self, seconds: float) -> Self:
        """DISABLED, and not changed for so many seconds."""
        before = ClockTimestamp() - timedelta(seconds=seconds)
        return self.filter(state=WorkspaceState.DISABLED, updated_at__lt=before)

    def lock_state(self, wsid: str) -> Workspace | None:
        """STATE(wsid): the row FOR NO KEY UPDATE, until the transaction ends.

        Waits as long as lock_timeout lets it; then PostgreSQL's lock_not_available comes up as OperationalError.
        """
        return self.select_for_update(no_key=True).filter(pk=wsid).first()


class OrderQuerySet(QuerySet["Order"]):
    """What operators asked for."""

    def open(self) -> Self:
        """Not done yet, oldest first."""
        return self.filter(ended_at__isnull=True).order_by("order_id")

    def open_of(self, wsid: str, kind: str) -> Order | None:
        """The one of this kind that is open in the workspace."""
        return self.open().filter(workspace_id=wsid, kind=kind).first()

    def older_than(self, seconds: float) -> Self:
        """Asked for longer ago than that."""
        return self.filter(created_at__lt=ClockTimestamp() - timedelta(seconds=seconds))

    def ended_before(self, seconds: float) -> Self:
        """Done, or given up, longer ago than that."""
        return self.filter(ended_at__lt=ClockTimestamp() - timedelta(seconds=seconds))

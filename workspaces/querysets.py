"""Workspaces, asked for in the words of the domain."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Self

from django.db.models import QuerySet

from workspaces.states import WorkspaceState
from wvs_project.db import ClockTimestamp

if TYPE_CHECKING:
    from workspaces.models import Workspace


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

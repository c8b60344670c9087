"""Workspaces, asked for in the words of the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import QuerySet

if TYPE_CHECKING:
    from workspaces.models import Workspace


class WorkspaceQuerySet(QuerySet["Workspace"]):
    """Nothing here locks unless its name says so."""

    def lock_state(self, wsid: str) -> Workspace | None:
        """STATE(wsid): the row FOR NO KEY UPDATE, until the transaction ends.

        Waits as long as lock_timeout lets it; then PostgreSQL's lock_not_available comes up as OperationalError.
        """
        return self.select_for_update(no_key=True).filter(pk=wsid).first()

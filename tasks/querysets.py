"""Tasks, asked for in the words of the domain."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from django.db.models import F, Q, QuerySet

from tasks.states import LIVE, Status
from wvs_project.db import ClockTimestamp, Nextval

if TYPE_CHECKING:
    from tasks.models import Task


FENCE_SEQUENCE: Final = "task_fence"


class TaskQuerySet(QuerySet["Task"]):
    """Nothing here locks unless its name says so."""

    def matching(self, *, wsid: str | None = None, status: str | None = None, op: str | None = None) -> Self:
        """Those that a reader asked for."""
        asked = {"workspace_id": wsid, "status": status, "op": op}
        return self.filter(**{name: value for name, value in asked.items() if value is not None})

    def of_workspace(self, wsid: str) -> Self:
        """Those of one workspace."""
        return self.filter(workspace_id=wsid)

    def live(self) -> Self:
        """PENDING, RUNNING or FAILED."""
        return self.filter(status__in=LIVE)

    def dead(self, *, older_than: float | None = None, newer_than: float | None = None) -> Self:
        """Those that ended DEAD, longer ago than, or within, so many seconds by PostgreSQL's clock."""
        found = self.filter(status=Status.DEAD)
        if older_than is not None:
            found = found.filter(ended_at__lt=ClockTimestamp() - timedelta(seconds=older_than))
        if newer_than is not None:
            found = found.filter(ended_at__gte=ClockTimestamp() - timedelta(seconds=newer_than))
        return found

    def dead_since(self, moment: datetime) -> Self:
        """Those that ended DEAD at that moment or later, newest first."""
        return self.filter(status=Status.DEAD, ended_at__gte=moment).order_by("-ended_at")

    def waiting(self) -> Self:
        """Live, and nobody works on them."""
        return self.filter(status__in=LIVE).exclude(status=Status.RUNNING)

    def waiting_longest(self, count: int) -> Self:
        """So many of the waiting, in the order in which they were accepted.

        The oldest of each status apart, at their ends of an index: the oldest of both would be sought through all that
        ever finished.
        """
        ends = [
            self.filter(status=status).order_by("created_at", "task_id")[:count] for status in LIVE if status.is_waiting
        ]
        return ends[0].union(*ends[1:], all=True).order_by("created_at", "task_id")[:count]

    def referring_to(self, snapshot_id: str) -> Self:
        """Live tasks that need the snapshot or are about to delete it."""
        return self.live().filter(snapshot_id=snapshot_id)

    def dropping(self, snapshot_id: str) -> Self:
        """Live tasks that delete the snapshot."""
        return self.referring_to(snapshot_id).filter(op="snapshot_drop")

    def with_key(self, wsid: str, op: str, key: str) -> Self:
        """The task that an idempotency key made, if any."""
        return self.filter(workspace_id=wsid, op=op, idempotency_key=key)

    def in_order(self) -> Self:
        """First in, first out."""
        return self.order_by("seq")

    def head(self, wsid: str) -> Task | None:
        """The oldest live task of the workspace; `is_due` says whether its time has come by PostgreSQL's clock."""
        return self._heads_of(wsid).first()

    def has_due_head(self, wsid: str) -> bool:
        """Whether somebody should begin the head now: it is due, and nobody runs it."""
        head = self.head(wsid)
        return head is not None and head.is_due and head.state.is_waiting

    def locking(self) -> Self:
        """Their rows locked FOR UPDATE, each with its `age` and how long it is `overdue`, for the metrics."""
        now = ClockTimestamp()
        return self.select_for_update(of=("self",)).annotate(age=now - F("created_at"), overdue=now - F("next_run_at"))

    def lock_head(self, wsid: str) -> Task | None:
        """The head, its row locked FOR UPDATE, with a `fresh_fence` higher than every one before.

        The caller holds STATE(wsid), so it stays the head meanwhile. Find first, then lock: skipping locked rows here
        would overtake.
        """
        fence = {"fresh_fence": Nextval(FENCE_SEQUENCE)}
        return self._heads_of(wsid).annotate(**fence).locking().first()

    def _heads_of(self, wsid: str) -> Self:
        due = Q(next_run_at__lte=ClockTimestamp())
        return self.of_workspace(wsid).live().in_order().annotate(is_due=due)

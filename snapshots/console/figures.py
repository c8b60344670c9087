"""What the dashboard tells (SPEC §9), in a bounded number of statements, of which none looks at every task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.db.models import Count, QuerySet

from snapshots.days import Kept, kept_now, kept_since
from snapshots.drift_counts import drift_by_kind
from snapshots.models import DriftCount, Snapshot, SnapshotDay
from tasks.backlog import DEAD_DAYS
from tasks.days import DayCount, counts_since, recent_counts, totals_by_status
from tasks.models import Task
from tasks.states import FINISHED, LIVE, Status
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.db import read_clock

DAYS_SHOWN: Final = 30
ROWS_SHOWN: Final = 10
COUNTED_TO: Final = 1000
"""What there may be any number of is counted so far and no further."""
LOOKED_AT: Final = 1000
"""Of so many tasks that ended last the standstill is read."""
_ROW: Final = ("task_id", "workspace_id", "op", "status", "created_at", "ended_at", "next_run_at", "attempt", "error")


@dataclass(frozen=True, slots=True)
class LiveTasks:
    """The queue as it stands."""

    by_status: dict[str, int]
    due: int
    """Waiting, and their time has come: the queue's depth."""
    later: int
    """Waiting for the time of their retry."""


@dataclass(frozen=True, slots=True)
class Figures:
    """All that the dashboard tells, as of `now`. Counts above COUNTED_TO are COUNTED_TO + 1."""

    now: datetime
    live: LiveTasks
    finished: dict[str, int]
    by_day: list[DayCount]
    dead: int
    last_dead: list[Task]
    oldest_waiting: list[Task]
    workspaces: dict[str, int]
    kept: Kept
    kept_by_day: dict[date, SnapshotDay]
    missing: int
    drift: Mapping[str, DriftCount]
    frozen: list[Task]
    """RUNNING, and their agents stand still: the longest first."""
    standstills: list[float]
    """Seconds of the freezes of the last day, of the newest LOOKED_AT tasks at most."""

    @property
    def oldest(self) -> datetime | None:
        """When the one was accepted that waits for longest."""
        return self.oldest_waiting[0].created_at if self.oldest_waiting else None

    @property
    def days(self) -> list[date]:
        """The days of the charts, today last."""
        today = self.now.astimezone(UTC).date()
        return [today - timedelta(days=ago) for ago in reversed(range(DAYS_SHOWN))]


def read_figures() -> Figures:
    """Ask PostgreSQL."""
    now = read_clock()
    recent = recent_counts(now=now)
    first = now.astimezone(UTC).date() - timedelta(days=DAYS_SHOWN - 1)
    dead = Task.objects.dead_since(now - timedelta(days=DEAD_DAYS))
    return Figures(
        now=now,
        live=_live(now),
        finished=totals_by_status(recent),
        by_day=counts_since(first, recent),
        dead=_count(dead),
        last_dead=list(dead.only(*_ROW)[:ROWS_SHOWN]),
        oldest_waiting=list(Task.objects.only(*_ROW).waiting_longest(ROWS_SHOWN)),
        workspaces=_workspaces(),
        kept=kept_now(),
        kept_by_day=kept_since(first),
        missing=_count(Snapshot.objects.orphaned()),
        drift=drift_by_kind(),
        frozen=_frozen(),
        standstills=_standstills(now),
    )


def per_day(figures: Figures, *, status: str, ops: Iterable[str] | None = None) -> list[int]:
    """For each day of the charts, how many tasks of these ops, or of all, ended with the status."""
    wanted = None if ops is None else frozenset(ops)
    totals = dict.fromkeys(figures.days, 0)
    for one in figures.by_day:
        if one.status == status and one.day in totals and (wanted is None or one.op in wanted):
            totals[one.day] += one.count
    return list(totals.values())


def _live(now: datetime) -> LiveTasks:
    """Of very many that wait only an index is read; a look at the rows is for those that failed, which are few."""
    by_status = {status.value: Task.objects.filter(status=status).count() for status in LIVE}
    later = Task.objects.filter(status=Status.FAILED, next_run_at__gt=now).count()
    waiting = sum(count for status, count in by_status.items() if Status(status).is_waiting)
    return LiveTasks(by_status, waiting - later, later)


def _frozen() -> list[Task]:
    """Of running ones there are as many as workers have threads."""
    running = Task.objects.filter(status=Status.RUNNING, progress__has_key="frozen_since")
    return list(running.only(*_ROW, "progress").order_by("progress__frozen_since")[:ROWS_SHOWN])


def _standstills(now: datetime) -> list[float]:
    """Of tasks whose agent was attached; a task without an agent costs nobody a standstill."""
    ended = Task.objects.filter(status__in=FINISHED, ended_at__gte=now - timedelta(days=1)).order_by("-ended_at")
    told = ended.values_list("result__agent__freeze_seconds", flat=True)[:LOOKED_AT]
    return sorted(float(seconds) for seconds in told if seconds)


def _workspaces() -> dict[str, int]:
    counted = dict(Workspace.objects.order_by().values_list("state").annotate(count=Count("*")))
    return {state.value: counted.get(state.value, 0) for state in WorkspaceState}


def _count(rows: QuerySet[Any]) -> int:
    return rows.order_by()[: COUNTED_TO + 1].count()

"""Finished tasks, counted by the day (UTC) on which they ended (SPEC §9).

A day that is over is counted once, before retention may take its tasks, and the count stays. What ended since is
counted as it stands, through the index `tasks_by_end`. So a total never costs a look at every task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import structlog
from django.db import connection
from django.db.models import Count, Max, Sum
from django.db.models.functions import TruncDate

from tasks.chores import Chore, Tools
from tasks.models import Task, TaskDay
from tasks.states import FINISHED
from wvs_project.db import read_clock

SETTLED_AFTER: Final = timedelta(hours=1)
"""After midnight: what ended before it may become visible later, when its transaction commits."""
_NAMES: Final = {
    "tasks": Task._meta.db_table,
    "days": TaskDay._meta.db_table,
    "finished": ", ".join(f"'{status}'" for status in FINISHED),
}
# One statement, so that a day is counted whole or not at all. Twice at once: the second finds the first one's rows.
_COUNT: Final = """
    INSERT INTO {days} (day, op, status, count)
    SELECT (ended_at AT TIME ZONE 'UTC')::date, op, status, count(*)
      FROM {tasks}
     WHERE status IN ({finished}) AND ended_at >= %s AND ended_at < %s
     GROUP BY 1, 2, 3
    ON CONFLICT DO NOTHING
""".format(**_NAMES)  # noqa: S608 — names of ours

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DayCount:
    """So many tasks of an op ended with a status on a day."""

    day: date
    op: str
    status: str
    count: int


def count_days(*, now: datetime | None = None) -> int:
    """Count the days that are over and were not counted yet. Returns how many rows that made; 0 when repeated.

    `now` is PostgreSQL's clock unless given.
    """
    end = _midnight((now or read_clock()).astimezone(UTC) - SETTLED_AFTER)
    begin = _first_uncounted()
    if begin >= end:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [begin, end])
        return int(cursor.rowcount)


def recent_counts(*, now: datetime | None = None) -> list[DayCount]:
    """What ended since the counted days, as it stands: today's, and yesterday's until they are counted."""
    now = now or read_clock()
    # Two days at most are counted while somebody waits, however long the chore did not run.
    begin = max(_first_uncounted(), _midnight(now) - timedelta(days=1))
    ended = Task.objects.filter(status__in=FINISHED, ended_at__gte=begin)
    by_day = ended.values_list(TruncDate("ended_at", tzinfo=UTC), "op", "status").annotate(count=Count("*"))
    return [DayCount(*row) for row in by_day]


def totals_by_status(recent: Iterable[DayCount]) -> dict[str, int]:
    """How many tasks ever ended with each status: the counted days, and the `recent` ones."""
    totals: Counter[str] = Counter({status.value: 0 for status in FINISHED})
    for status, count in TaskDay.objects.values_list("status").annotate(total=Sum("count")):
        totals[status] += count
    for one in recent:
        totals[one.status] += one.count
    return dict(totals)


def counts_since(day: date, recent: Iterable[DayCount]) -> list[DayCount]:
    """Those of that day and later ones, the `recent` ones among them, in no order."""
    counted = TaskDay.objects.filter(day__gte=day).values_list("day", "op", "status", "count")
    return [DayCount(*row) for row in counted] + [one for one in recent if one.day >= day]


def _first_uncounted() -> datetime:
    """When the day begins that follows the last one counted."""
    last: date | None = TaskDay.objects.aggregate(last=Max("day"))["last"]
    return datetime.min.replace(tzinfo=UTC) if last is None else _begin_of(last + timedelta(days=1))


def _midnight(moment: datetime) -> datetime:
    return _begin_of(moment.astimezone(UTC).date())


def _begin_of(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


class TaskDaysChore(Chore):
    """Days that are over are counted."""

    name = "task-days"

    def run(self, tools: Tools) -> None:
        """Twice is as good as once."""
        if made := count_days():
            log.info("tasks.days_counted", rows=made)

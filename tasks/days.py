"""Finished tasks, counted by the day (UTC) on which they ended (SPEC §9).

What ended is counted once, by the hour, before retention may take the tasks, and the count stays. What ended since is
counted as it stands, through the index `tasks_by_end`. So a total never costs a look at every task, nor at a day's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import structlog
from django.db import connection, transaction
from django.db.models import Count, Max, Sum, Value
from django.db.models.functions import Coalesce, TruncDate

from tasks.chores import Chore, Tools
from tasks.models import Task, TaskDay
from tasks.states import FINISHED
from wvs_project.db import read_clock

SETTLED_AFTER: Final = timedelta(hours=1)
"""What ended before a moment may become visible later, when its transaction commits."""
_NAMES: Final = {
    "tasks": Task._meta.db_table,
    "days": TaskDay._meta.db_table,
    "finished": ", ".join(f"'{status}'" for status in FINISHED),
}
_COUNT: Final = """
    INSERT INTO {days} AS counted (day, op, status, count, counted_to)
    SELECT (ended_at AT TIME ZONE 'UTC')::date, op, status, count(*), %(end)s
      FROM {tasks}
     WHERE status IN ({finished}) AND ended_at >= %(begin)s AND ended_at < %(end)s
     GROUP BY 1, 2, 3
    ON CONFLICT (day, op, status) DO UPDATE
       SET count = counted.count + EXCLUDED.count, counted_to = EXCLUDED.counted_to
""".format(**_NAMES)  # noqa: S608 — names of ours
# Readers go on. Who counts at the same time waits, and then finds nothing left to count.
_LOCK: Final = "LOCK TABLE {days} IN SHARE ROW EXCLUSIVE MODE".format(**_NAMES)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DayCount:
    """So many tasks of an op ended with a status on a day."""

    day: date
    op: str
    status: str
    count: int


@transaction.atomic
def count_days(*, now: datetime | None = None) -> int:
    """Count the hours that are over and were not counted yet. Returns how many rows that changed; 0 when repeated.

    `now` is PostgreSQL's clock unless given. Locks the table of days for the transaction.
    """
    end = _hour((now or read_clock()).astimezone(UTC) - SETTLED_AFTER)
    with connection.cursor() as cursor:
        cursor.execute(_LOCK)
        begin = _first_uncounted()
        if begin >= end:
            return 0
        cursor.execute(_COUNT, {"begin": begin, "end": end})
        return int(cursor.rowcount)


def recent_counts(*, now: datetime | None = None) -> list[DayCount]:
    """What ended since the counted hours, as it stands."""
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
    """The moment that all before it are counted to."""
    last: date | None = TaskDay.objects.aggregate(last=Max("day"))["last"]
    if last is None:
        return datetime.min.replace(tzinfo=UTC)
    whole = Value(_begin_of(last + timedelta(days=1)))
    to: datetime = TaskDay.objects.filter(day=last).aggregate(to=Max(Coalesce("counted_to", whole)))["to"]
    return to


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _midnight(moment: datetime) -> datetime:
    return _begin_of(moment.astimezone(UTC).date())


def _begin_of(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


class TaskDaysChore(Chore):
    """Hours that are over are counted."""

    name = "task-days"

    def run(self, tools: Tools) -> None:
        """Twice is as good as once."""
        if made := count_days():
            log.info("tasks.days_counted", rows=made)

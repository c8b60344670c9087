"""Finished tasks and kept snapshots by the day: what is told is the truth, whatever was deleted since (SPEC §9)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.db.models import Q

from snapshots import days as snapshot_days
from snapshots.days import kept_now, kept_since, note_kept
from snapshots.models import Snapshot, SnapshotDay
from tasks import days
from tasks.days import DayCount, count_days, counts_since, recent_counts
from tasks.models import Op, Task, TaskDay
from tasks.retention import delete_old_tasks
from tasks.states import FINISHED, Status
from tests.factories import from_now, make_snapshot, make_task, make_workspace
from tests.waiting import InThread
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §9")]

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)
SETTLED = MIDNIGHT + timedelta(hours=1)


def ended(at: datetime, status: str = Status.SUCCEEDED, op: str = Op.SNAPSHOT_CREATE) -> Task:
    task = make_task(make_workspace(), op, status=status)
    Task.objects.filter(pk=task.pk).update(created_at=at - timedelta(minutes=1), ended_at=at)
    return task


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace()


def totals_by_status(*, now: datetime | None = None) -> dict[str, int]:
    return days.totals_by_status(recent_counts(now=now))


def counts_by_day(*, days: int, now: datetime) -> list[DayCount]:
    return counts_since(now.date() - timedelta(days=days - 1), recent_counts(now=now))


def truth() -> dict[str, int]:
    """The rows, all of them looked at."""
    counted = Counter(Task.objects.filter(status__in=FINISHED).values_list("status", flat=True))
    return {status.value: counted[status] for status in FINISHED}


def some_of_each_day() -> None:
    for ago in (0, 1, 2, 2, 5):
        ended(NOW - ago * DAY)
        ended(NOW - ago * DAY, Status.DEAD, Op.SET_CURRENT)
    ended(NOW - 5 * DAY, Status.CANCELED)
    make_task(make_workspace())  # live: counted elsewhere


def test_counted_days_and_what_ended_since_are_the_truth() -> None:
    some_of_each_day()
    expected = truth()
    assert count_days(now=NOW) > 0
    assert totals_by_status(now=NOW) == expected
    assert sum(one.count for one in counts_by_day(days=30, now=NOW)) == sum(expected.values())


def test_a_day_is_counted_once_however_often_it_is_asked_for() -> None:
    some_of_each_day()
    assert count_days(now=NOW) == 7
    before = sorted(TaskDay.objects.values_list("day", "op", "status", "count"))
    assert count_days(now=NOW) == 0
    assert sorted(TaskDay.objects.values_list("day", "op", "status", "count")) == before


def test_a_count_outlives_its_tasks() -> None:
    some_of_each_day()
    expected = truth()
    count_days(now=NOW)
    Task.objects.filter(ended_at__lt=NOW - DAY).delete()
    count_days(now=NOW)
    assert totals_by_status(now=NOW) == expected
    count_days(now=NOW + DAY)
    assert totals_by_status(now=NOW + DAY) == expected


def test_retention_counts_what_it_takes_though_no_chore_ever_ran() -> None:
    task = make_task(make_workspace(), status=Status.DEAD)
    Task.objects.filter(pk=task.pk).update(created_at=from_now(-40 * 86400), ended_at=from_now(-40 * 86400))
    assert sum(delete_old_tasks(retention=30 * 86400, needed=Q(pk=""))) == 1
    assert totals_by_status()[Status.DEAD] == 1


def test_a_day_ends_at_midnight_utc_whatever_zone_the_session_is_in() -> None:
    ended(MIDNIGHT - timedelta(microseconds=1))
    ended(MIDNIGHT)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL TIME ZONE 'Pacific/Auckland'")
        count_days(now=SETTLED)
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")  # what Django reads moments in
    assert list(TaskDay.objects.values_list("day", "count")) == [(date(2026, 3, 9), 1)]
    assert {one.day: one.count for one in counts_by_day(days=2, now=NOW)} == {date(2026, 3, 9): 1, date(2026, 3, 10): 1}


def test_a_day_is_left_open_for_an_hour_for_what_commits_late() -> None:
    ended(MIDNIGHT - timedelta(minutes=1))
    assert count_days(now=SETTLED - timedelta(microseconds=1)) == 0
    ended(MIDNIGHT - timedelta(seconds=1))
    assert totals_by_status(now=SETTLED)[Status.SUCCEEDED] == 2
    assert count_days(now=SETTLED) == 1
    assert totals_by_status(now=SETTLED)[Status.SUCCEEDED] == 2


def test_a_day_grows_by_the_hour_and_only_what_ended_since_is_looked_at() -> None:
    for minutes in (5, 70, 71, 130):
        ended(MIDNIGHT + timedelta(minutes=minutes))
    for hours, counted in ((1, 0), (2, 1), (3, 3), (3.9, 3), (4, 4)):
        now = MIDNIGHT + timedelta(hours=hours)
        count_days(now=now)
        assert sum(TaskDay.objects.values_list("count", flat=True)) == counted
        assert sum(one.count for one in recent_counts(now=now)) == 4 - counted
        assert totals_by_status(now=now)[Status.SUCCEEDED] == 4
    Task.objects.all().delete()
    assert totals_by_status(now=NOW)[Status.SUCCEEDED] == 4


def test_a_day_that_was_counted_whole_is_not_begun_again() -> None:
    ended(MIDNIGHT - timedelta(minutes=1))
    TaskDay.objects.create(day=date(2026, 3, 9), op=Op.SNAPSHOT_CREATE, status=Status.SUCCEEDED, count=1)
    assert count_days(now=NOW) == 0
    assert totals_by_status(now=NOW)[Status.SUCCEEDED] == 1


@pytest.mark.django_db(transaction=True)
def test_two_who_count_at_once_count_once() -> None:
    ended(MIDNIGHT - timedelta(minutes=1))
    with transaction.atomic():
        assert count_days(now=NOW) == 1
        second = InThread(lambda: count_days(now=NOW + timedelta(hours=1)))
        second.wait_blocked()
    assert second.result() == 0
    assert totals_by_status(now=NOW)[Status.SUCCEEDED] == 1


def test_no_total_looks_at_every_task() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
    recent = Task.objects.filter(status__in=FINISHED, ended_at__gte=NOW)
    plan = recent.values("op", "status").explain()
    assert "Index Only Scan using tasks_by_end" in plan
    # Of two that serve it an empty table takes either; what is DEAD is never looked for among all.
    assert "Index Cond: (ended_at >=" in Task.objects.dead_since(NOW).explain().replace("((", "(")


def test_what_is_kept_is_counted_as_it_stands(workspace: Workspace) -> None:
    make_snapshot(workspace, entries=10, bytes=5)
    make_snapshot(workspace, entries=7, bytes=2)
    make_snapshot(workspace, dropped=True)
    assert (kept := kept_now()).at is None
    assert (kept.snapshots, kept.entries, kept.bytes) == (2, 17, 7)


def test_of_very_many_the_last_note_is_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_days, "AT_ONCE", 1)
    make_snapshot(workspace, entries=10)
    make_snapshot(workspace, entries=7)
    note_kept()
    make_snapshot(workspace, entries=1)
    assert (kept_now().snapshots, kept_now().entries) == (2, 17)
    assert kept_now().at is not None


def test_what_is_noted_later_on_a_day_replaces_what_was_noted_earlier(workspace: Workspace) -> None:
    snapshot = make_snapshot(workspace, entries=10)
    note_kept()
    make_snapshot(workspace, entries=7)
    snapshot.mark_dropped("task")
    note_kept()
    SnapshotDay.objects.create(day=date(2001, 1, 1), snapshots=1, entries=1, bytes=1, taken_at=NOW)
    assert [(day.snapshots, day.entries) for day in kept_since(date(2020, 1, 1)).values()] == [(1, 7)]
    assert Snapshot.objects.count() == 2


def test_days_without_a_count_are_not_counted_while_somebody_waits() -> None:
    ended(NOW - 5 * DAY)
    ended(NOW - DAY)
    assert totals_by_status(now=NOW)[Status.SUCCEEDED] == 1

"""What is kept, day by day (SPEC §9): noted by the leading scheduler, for there is no other trace of what once was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from django.db import connection
from django.db.models import Count, Sum, Value
from django.db.models.functions import Coalesce

from snapshots.models import Snapshot, SnapshotDay
from tasks.chores import Chore, Tools

AT_ONCE: Final = 5_000
"""So many snapshots are counted while somebody waits; of more, what was noted last is told."""
_NOTE: Final = f"""
    INSERT INTO {SnapshotDay._meta.db_table} (day, snapshots, entries, bytes, taken_at)
    SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date, count(*), coalesce(sum(entries), 0), coalesce(sum(bytes), 0),
           clock_timestamp()
      FROM {Snapshot._meta.db_table} WHERE deleted_at IS NULL
    ON CONFLICT (day) DO UPDATE SET snapshots = EXCLUDED.snapshots, entries = EXCLUDED.entries,
           bytes = EXCLUDED.bytes, taken_at = EXCLUDED.taken_at
"""  # noqa: S608 — names of ours


@dataclass(frozen=True, slots=True)
class Kept:
    """How many snapshots are kept, and how large they are; `at` is None where that is so now."""

    snapshots: int
    entries: int
    bytes: int
    at: datetime | None = None


def note_kept() -> None:
    """Write down for today what is kept now."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTE)


def kept_now() -> Kept:
    """Counted, where that is quickly done; else as noted last, at most an hour ago while a scheduler runs."""
    some = Snapshot.objects.kept().order_by("created_at").values("pk", "entries", "bytes")[: AT_ONCE + 1]
    found = some.aggregate(
        count=Count("pk"), sum_entries=Coalesce(Sum("entries"), Value(0)), sum_bytes=Coalesce(Sum("bytes"), Value(0))
    )
    noted = SnapshotDay.objects.order_by("-day").first() if found["count"] > AT_ONCE else None
    if noted is None:
        return Kept(found["count"], int(found["sum_entries"]), int(found["sum_bytes"]))
    return Kept(noted.snapshots, noted.entries, noted.bytes, noted.taken_at)


def kept_since(day: date) -> dict[date, SnapshotDay]:
    """What was noted on that day and later ones. A day without a scheduler has none."""
    return {noted.day: noted for noted in SnapshotDay.objects.filter(day__gte=day)}


class SnapshotDaysChore(Chore):
    """What is kept is noted, once more each time."""

    name = "snapshot-days"

    def run(self, tools: Tools) -> None:
        """Replaces what was noted earlier on the same day."""
        note_kept()

"""What the demo's story would have noted day by day of what was kept, had a scheduler run (SPEC §9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta

from snapshots.models import Snapshot, SnapshotDay


def write_kept_days(snapshots: Sequence[Snapshot], *, now: datetime) -> None:
    """One row for each day since the first snapshot was made; what was noted of such a day before is replaced."""
    SnapshotDay.objects.bulk_create(
        kept_days(snapshots, now=now),
        update_conflicts=True,
        unique_fields=["day"],
        update_fields=["snapshots", "entries", "bytes", "taken_at"],
    )


def kept_days(snapshots: Sequence[Snapshot], *, now: datetime) -> Iterator[SnapshotDay]:
    """What was kept at the end of each day (UTC), of today now. Pure."""
    if not snapshots:
        return
    day = min(one.created_at for one in snapshots).astimezone(UTC).date()
    while day <= now.astimezone(UTC).date():
        taken_at = min(datetime.combine(day + timedelta(days=1), time.min, UTC), now)
        kept = [
            one
            for one in snapshots
            if one.created_at < taken_at and (one.deleted_at is None or one.deleted_at >= taken_at)
        ]
        yield SnapshotDay(
            day=day,
            snapshots=len(kept),
            entries=sum(one.entries for one in kept),
            bytes=sum(one.bytes for one in kept),
            taken_at=taken_at,
        )
        day += timedelta(days=1)

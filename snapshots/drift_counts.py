"""What the last look at all workspaces found, kept for the dashboard (SPEC §9): a row for each kind of drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from snapshots.drift import DriftKind
from snapshots.models import DriftCount
from wvs_project.db import ClockTimestamp

OF_THE_SWEEP: Final = frozenset({DriftKind.STALE_WRITER, DriftKind.UNKNOWN_TREE})
"""What only the sweep can tell."""
OF_THE_INSPECTION: Final = frozenset(DriftKind) - OF_THE_SWEEP


def note_drift(found: Iterable[DriftKind], kinds: frozenset[DriftKind]) -> None:
    """Write down how often each of the kinds was found by a look at everything that is over; none is a count."""
    counts = Counter(found)
    for kind in sorted(kinds):
        DriftCount.objects.update_or_create(kind=kind, defaults={"count": counts[kind], "looked_at": ClockTimestamp()})


def drift_by_kind() -> Mapping[str, DriftCount]:
    """What was noted last, by kind: those of which there is some first."""
    return {one.kind: one for one in DriftCount.objects.order_by("-count", "kind")}

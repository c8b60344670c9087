"""What this app counts (SPEC §11)."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

from snapshots.drift import DriftKind

DRIFT: Final = Counter(
    "wvs_drift_total",
    "Differences between disk and rows, each time that one was found, by kind.",
    ["kind"],
)
for _kind in DriftKind:
    DRIFT.labels(kind=_kind.value)

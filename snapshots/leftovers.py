"""What on disk may go, and why (SPEC §2, §6, §7, §9; RK-04, G20): pure.

What a row or a task needs stays. What nobody can account for stays too: the only copy of somebody's work may be in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from executor.contract import LIVE_ID_PATTERN, SNAPSHOT_ID_PATTERN, matches
from executor.upkeep import Inventory
from snapshots.drift import DriftKind
from snapshots.index import maker_of


class Kind(StrEnum):
    """What a leftover is."""

    LIVE = "live"
    SNAPSHOT = "snapshot"
    STAGING = "staging"
    FREEZE = "freeze"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing on disk, whether it goes, and why; `drift` where it should not be there and yet stays."""

    kind: Kind
    name: str
    goes: bool
    why: str
    drift: DriftKind | None = None
    ordinary: bool = False
    """It is just what should be there."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the rows say of one workspace."""

    current_live_id: str | None = None
    live_tasks: frozenset[str] = frozenset()
    """Ids of tasks that are not finished."""
    makers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """By live id: the status of the set_current task that made, or was to make, that tree."""
    superseded: Mapping[str, datetime] = field(default_factory=lambda: MappingProxyType({}))
    """By live id: when `current` was switched away from it."""
    kept_snapshots: frozenset[str] = frozenset()
    dropped_snapshots: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """By snapshot id: the task that dropped it."""


def judge(
    found: Inventory,
    known: Known,
    *,
    at_rest: bool,
    now: datetime,
    grace: timedelta,
    last_written: Mapping[str, datetime],
) -> list[Verdict]:
    """A verdict on every live tree, snapshot, staging directory and forgotten freeze.

    `at_rest`: nobody works in the workspace while we look, and no attempt so far can publish any more. `last_written`
    tells of the live trees that were scanned; one that would go but was not scanned stays.
    """
    trees = [_live(name, found, known, now, grace, last_written) for name in found.live]
    snapshots = [_snapshot(item.name, known) for item in found.snapshots]
    staging = [_staging(name, found.fence, at_rest=at_rest) for name in found.staging]
    return trees + snapshots + staging + ([_freeze(at_rest=at_rest)] if found.freeze_asked else [])


def to_be_scanned(found: Inventory, known: Known, *, now: datetime, grace: timedelta) -> list[str]:
    """The live trees that would go if nobody has written to them since they were switched away from."""
    may_go = [name for name in found.live if _reason_to_stay(name, found, known, now, grace) is None]
    return [name for name in may_go if _ended(name, known) is not None]


def _live(
    name: str,
    found: Inventory,
    known: Known,
    now: datetime,
    grace: timedelta,
    last_written: Mapping[str, datetime],
) -> Verdict:
    stays = _reason_to_stay(name, found, known, now, grace)
    if stays is not None:
        why, drift = stays
        return Verdict(Kind.LIVE, name, goes=False, why=why, drift=drift)
    ended = _ended(name, known)
    if ended is None:
        return Verdict(Kind.LIVE, name, goes=True, why=f"never switched to: its task is {known.makers[name]}")
    written = last_written.get(name)
    if written is None:
        return Verdict(Kind.LIVE, name, goes=False, why="not looked at yet: nobody knows who has written to it")
    if written > ended:
        why = f"written to at {_text(written)}, after it was switched away from at {_text(ended)}: look into it by hand"
        return Verdict(Kind.LIVE, name, goes=False, why=why, drift=DriftKind.STALE_WRITER)
    return Verdict(Kind.LIVE, name, goes=True, why=f"switched away from at {_text(ended)}")


def _reason_to_stay(
    name: str, found: Inventory, known: Known, now: datetime, grace: timedelta
) -> tuple[str, DriftKind | None] | None:
    if not matches(LIVE_ID_PATTERN, name):
        return "not a tree of ours", DriftKind.STRANGE
    if found.current == f"live/{name}":
        return "current", None
    if name == known.current_live_id:
        return "the row says that it is current", None
    if maker_of(name) in known.live_tasks:
        return "its task is not finished", None
    ended = _ended(name, known)
    if ended is None:
        never = known.makers.get(name) in ("DEAD", "CANCELED")
        return None if never else ("no task tells when it was switched away from", DriftKind.UNKNOWN_TREE)
    if now < ended + grace:
        return f"switched away from at {_text(ended)}, stays until {_text(ended + grace)}", None
    return None


def _snapshot(name: str, known: Known) -> Verdict:
    if not matches(SNAPSHOT_ID_PATTERN, name):
        return Verdict(Kind.SNAPSHOT, name, goes=False, why="not a snapshot of ours", drift=DriftKind.STRANGE)
    if name in known.kept_snapshots:
        return Verdict(Kind.SNAPSHOT, name, goes=False, why="a snapshot", ordinary=True)
    dropped_by = known.dropped_snapshots.get(name)
    if dropped_by is None:
        return Verdict(Kind.SNAPSHOT, name, goes=False, why="no row knows it: see wvs_index")
    if dropped_by in known.live_tasks:
        return Verdict(Kind.SNAPSHOT, name, goes=False, why="its drop is not finished")
    return Verdict(Kind.SNAPSHOT, name, goes=True, why=f"dropped by {dropped_by}")


def _staging(name: str, highest: int, *, at_rest: bool) -> Verdict:
    fence = name.rpartition(".")[2]
    if not fence.isdigit():
        return Verdict(Kind.STAGING, name, goes=False, why="not staging of ours", drift=DriftKind.STRANGE)
    if int(fence) < highest:
        return Verdict(Kind.STAGING, name, goes=True, why=f"of fence {fence}; {highest} has come since")
    if at_rest:
        return Verdict(Kind.STAGING, name, goes=True, why="its attempt is over")
    return Verdict(Kind.STAGING, name, goes=False, why="its attempt may be at work")


def _freeze(*, at_rest: bool) -> Verdict:
    why = "asked for by an executor that is gone" if at_rest else "an attempt may be at work"
    return Verdict(Kind.FREEZE, "control.json", goes=at_rest, why=why)


def _ended(name: str, known: Known) -> datetime | None:
    return known.superseded.get(name)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")

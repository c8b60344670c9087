"""Disk against rows (SPEC §9: `wvs_index`): pure. What differs, and which of it can be repaired.

A task in flight is no drift: what it has done on disk it writes into the rows when it ends. So whoever compares makes
sure that nobody works in the workspace, or takes nothing for granted that was seen meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from executor.contract import INITIAL_LIVE_ID, LIVE_ID_PATTERN, SNAPSHOT_ID_PATTERN, matches
from executor.upkeep import Inventory, SnapshotFacts, SnapshotOnDisk
from snapshots.drift import DriftKind
from tasks.models import Op
from tasks.states import Status

_LARGEST: Final = 2**63 - 1
_NEVER_PUBLISHED: Final = (Status.CANCELED, Status.DEAD)


class Repair(StrEnum):
    """What `--fix` does about a finding."""

    INSERT_ROW = "insert the row"
    ADOPT = "insert the row, if told to adopt"
    MARK_ORPHANED = "say in the row that its directory is missing"
    CLEAR_ORPHANED = "say in the row that its directory is there"
    POINT = "point the row where the symlink points"


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `what`: the thing it is about, by its id or its path below the workspace."""

    kind: DriftKind
    wsid: str
    what: str
    detail: str
    repair: Repair | None = None
    """None: only a person can tell what is right, or the sweeper does it."""


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """A row of `snapshots`, as far as the disk can contradict it."""

    entries: int
    bytes: int
    manifest_digest: str
    created_by: str | None
    deleted_by: str | None = None
    orphaned: bool = False


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task that made, or is to make, something on disk."""

    op: str
    status: Status
    snapshot_id: str | None = None


@dataclass(frozen=True, slots=True)
class WorkspaceRows:
    """What the tables say of one workspace at one moment."""

    wsid: str
    exists: bool
    root_path: str = ""
    current_path: str | None = None
    """None: not initialised, or its trees were purged."""
    snapshots: Mapping[str, SnapshotRow] = field(default_factory=lambda: MappingProxyType({}))
    tasks: Mapping[str, TaskRow] = field(default_factory=lambda: MappingProxyType({}))
    """By task id: the live ones, and whichever made what was found on disk."""

    def is_live(self, task_id: str | None) -> bool:
        """Whether that task may still do something."""
        return task_id is not None and task_id in self.tasks and self.tasks[task_id].status.is_live


def compare(rows: WorkspaceRows, found: Inventory | None) -> list[Finding]:
    """Every difference, in a stable order. `found` has descriptors; None: there is no such workspace on disk."""
    if not rows.exists:
        return [] if found is None else [_finding(rows, DriftKind.UNKNOWN_WORKSPACE, ".", "no row knows it")]
    on_disk = {item.name: item for item in found.snapshots} if found else {}
    return [
        *_workspace(rows, found),
        *_pointer(rows, found),
        *_rows_without_snapshot(rows, on_disk),
        *(finding for name in sorted(on_disk) for finding in _on_disk(rows, on_disk[name])),
        *(_finding(rows, DriftKind.STRANGE, name, "none of ours") for name in (found.strange if found else ())),
    ]


def named_snapshot(rows: WorkspaceRows, live_id: str) -> str | None:
    """The snapshot that a live tree was made from, if its task tells; it may have been dropped since."""
    task = rows.tasks.get(maker_of(live_id) or "")
    return task.snapshot_id if task is not None and task.op == Op.SET_CURRENT else None


def maker_of(live_id: str) -> str | None:
    """The id of the set_current task that makes that tree; None for the first tree and for names that are no ids."""
    if live_id == INITIAL_LIVE_ID or not matches(LIVE_ID_PATTERN, live_id):
        return None
    return "task-" + live_id.removeprefix("live-")


def _finding(rows: WorkspaceRows, kind: DriftKind, what: str, detail: str, repair: Repair | None = None) -> Finding:
    return Finding(kind, rows.wsid, what, detail, repair)


def _workspace(rows: WorkspaceRows, found: Inventory | None) -> Iterator[Finding]:
    if rows.current_path is None:
        return
    if found is None:
        yield _finding(rows, DriftKind.MISSING_WORKSPACE, ".", "initialised, and nothing of it is on disk")
    elif found.current is None:
        yield _finding(rows, DriftKind.MISSING_CURRENT, "current", f"the row says {rows.current_path}")


def _pointer(rows: WorkspaceRows, found: Inventory | None) -> Iterator[Finding]:
    if found is None or found.current is None or rows.current_path is None:
        return
    live_id = found.current.removeprefix("live/")
    if rows.current_path == f"{rows.root_path}/{found.current}":
        if live_id not in found.live:
            yield _finding(rows, DriftKind.MISSING_CURRENT, "current", f"points at {found.current}, which is missing")
        return
    if rows.is_live(maker_of(live_id)):
        return  # its task will say so in the row
    is_ours = found.current == f"live/{live_id}" and matches(LIVE_ID_PATTERN, live_id) and live_id in found.live
    detail = f"points at {found.current}, the row says {rows.current_path}"
    if not is_ours:
        detail += "; that is no tree of ours"
    yield _finding(rows, DriftKind.POINTER, "current", detail, Repair.POINT if is_ours else None)


def _rows_without_snapshot(rows: WorkspaceRows, on_disk: Mapping[str, SnapshotOnDisk]) -> Iterator[Finding]:
    for snapshot_id, row in sorted(rows.snapshots.items()):
        item = on_disk.get(snapshot_id)
        is_complete = item is not None and item.facts is not None
        if row.deleted_by is not None or is_complete or row.orphaned:
            continue
        detail = "not on disk" if item is None else "what is on disk is not complete"
        yield _finding(rows, DriftKind.ORPHANED_ROW, snapshot_id, detail, Repair.MARK_ORPHANED)


def _on_disk(rows: WorkspaceRows, item: SnapshotOnDisk) -> Iterable[Finding]:
    row = rows.snapshots.get(item.name)
    if row is not None and row.deleted_by is not None:
        return _undeleted(rows, item.name, row.deleted_by)
    if item.facts is None:
        return [_invalid(rows, item.name)]
    if row is None:
        return _missing_row(rows, item.name, item.facts)
    return _kept(rows, item.name, row, item.facts)


def _undeleted(rows: WorkspaceRows, name: str, deleted_by: str) -> list[Finding]:
    if rows.is_live(deleted_by):
        return []
    return [_finding(rows, DriftKind.UNDELETED_DIRECTORY, name, f"dropped by {deleted_by}: the sweeper takes it")]


def _invalid(rows: WorkspaceRows, name: str) -> Finding:
    is_id = matches(SNAPSHOT_ID_PATTERN, name)
    detail = "no valid descriptor of this place" if is_id else "its name is no id of ours"
    return _finding(rows, DriftKind.INVALID_SNAPSHOT, f"snapshots/{name}", detail)


def _missing_row(rows: WorkspaceRows, name: str, facts: SnapshotFacts) -> list[Finding]:
    task = rows.tasks.get(facts.task_id)
    if task is not None and task.status.is_live:
        return []  # it will be applied
    if not is_storable(facts):
        detail = f"made by {facts.task_id}; its descriptor says what no row can"
        return [_finding(rows, DriftKind.MISSING_ROW, name, detail)]
    made = f"made by {facts.task_id} at {facts.created_at}"
    if task is not None and task.status in _NEVER_PUBLISHED:
        return [_finding(rows, DriftKind.MISSING_ROW, name, f"{made}, which is {task.status.value}", Repair.ADOPT)]
    detail = f"{made}, {'of which nothing is known' if task is None else 'which is ' + task.status.value}"
    return [_finding(rows, DriftKind.MISSING_ROW, name, detail, Repair.INSERT_ROW)]


def _kept(rows: WorkspaceRows, name: str, row: SnapshotRow, facts: SnapshotFacts) -> Iterator[Finding]:
    if row.orphaned:
        yield _finding(rows, DriftKind.ORPHAN_FOUND, name, "said to be missing, and there", Repair.CLEAR_ORPHANED)
    said = {
        "entries": (row.entries, facts.entries),
        "bytes": (row.bytes, facts.bytes),
        "manifest_digest": (row.manifest_digest, facts.manifest_digest),
        "created_by": (row.created_by, facts.task_id),
    }
    differing = [
        f"{key}: the row says {ours}, the descriptor {its}" for key, (ours, its) in said.items() if ours != its
    ]
    if differing:
        yield _finding(rows, DriftKind.MISMATCH, name, "; ".join(differing))


def is_storable(facts: SnapshotFacts) -> bool:
    """Whether a row can say what the descriptor says."""
    return moment_of(facts) is not None and all(0 <= number <= _LARGEST for number in (facts.entries, facts.bytes))


def moment_of(facts: SnapshotFacts) -> datetime | None:
    """When the snapshot was made; None if its descriptor does not say it as SPEC §3 wants."""
    try:
        moment = datetime.fromisoformat(facts.created_at)
    except ValueError:
        return None
    return moment if moment.utcoffset() == timedelta(0) else None

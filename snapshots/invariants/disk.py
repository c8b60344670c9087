"""I4, I5 and I12 on the disk: each workspace's, looked at while nobody works in it.

Cannot see: superseded trees that a sweep has taken, snapshots that were dropped and are gone, contents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Final

from django.db import connection

from executor.upkeep import Inventory
from snapshots.drift import DriftKind
from snapshots.index import WorkspaceRows, compare
from snapshots.invariants.violation import Violation

_BREAKS: Final[Mapping[DriftKind, str]] = {
    DriftKind.MISSING_ROW: "I5",
    DriftKind.ORPHANED_ROW: "I5",
    DriftKind.ORPHAN_FOUND: "I5",
    DriftKind.INVALID_SNAPSHOT: "I5",
    DriftKind.MISMATCH: "I5",
    DriftKind.UNKNOWN_WORKSPACE: "I5",
    DriftKind.POINTER: "I12",
    DriftKind.MISSING_CURRENT: "I12",
    DriftKind.MISSING_WORKSPACE: "I12",
}
"""The rest is no promise of the engine's: a dropped snapshot's directory waits for the sweep, what was planted is not
ours."""


class DiskJudge:
    """Judges one workspace after the other."""

    def __init__(self) -> None:
        self._highest = 0

    def __call__(self, rows: WorkspaceRows, found: Inventory | None) -> list[Violation]:
        """All that is broken there."""
        checks: tuple[Callable[[WorkspaceRows, Inventory], Iterator[Violation]], ...] = (
            i5_one_tree_for_a_task,
            i5_known_orphans,
            self.i4_fence_within_sequence,
        )
        others = [] if found is None else [violation for check in checks for violation in check(rows, found)]
        return [*i5_and_i12_rows_and_disk_agree(rows, found), *others]

    def i4_fence_within_sequence(self, rows: WorkspaceRows, found: Inventory) -> Iterator[Violation]:
        """The highest fence that the disk has seen was drawn from the sequence: else every attempt would be FENCED."""
        if found.fence > self._highest:
            self._highest = _last_fence()
        if found.fence > self._highest:
            detail = f".wvs/fence says {found.fence}, the sequence stands at {self._highest}"
            yield Violation("I4", rows.wsid, detail)


def i5_and_i12_rows_and_disk_agree(rows: WorkspaceRows, found: Inventory | None) -> Iterator[Violation]:
    """I5: each SUCCEEDED create has its one complete tree, and no tree is there that was not to be published.
    I12: the symlink is what the row says.
    """
    for finding in compare(rows, found):
        if finding.kind in _BREAKS:
            yield Violation(_BREAKS[finding.kind], rows.wsid, f"{finding.kind}: {finding.what}: {finding.detail}")


def i5_one_tree_for_a_task(rows: WorkspaceRows, found: Inventory) -> Iterator[Violation]:
    """No task has published two snapshots."""
    made = sorted((item.facts.task_id, item.name) for item in found.snapshots if item.facts)
    for task_id, group in groupby(made, key=lambda one: one[0]):
        names = [name for _, name in group]
        if len(names) > 1:
            yield Violation("I5", rows.wsid, f"{task_id} has published {len(names)} snapshots: {', '.join(names)}")


def i5_known_orphans(rows: WorkspaceRows, found: Inventory) -> Iterator[Violation]:
    """A snapshot that is said to be missing is a broken promise all the same."""
    complete = {item.name for item in found.snapshots if item.facts}
    for snapshot_id, row in sorted(rows.snapshots.items()):
        if row.orphaned and row.deleted_by is None and snapshot_id not in complete:
            yield Violation("I5", rows.wsid, f"{snapshot_id} is missing, as its row says")


def _last_fence() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM task_fence")
        return int(cursor.fetchone()[0])

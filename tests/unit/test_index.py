"""What counts as a difference between disk and rows, and what does not (SPEC §9): values only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from executor.upkeep import Inventory, SnapshotFacts, SnapshotOnDisk
from snapshots.drift import DriftKind
from snapshots.index import Finding, Repair, SnapshotRow, TaskRow, WorkspaceRows, compare, named_snapshot
from tasks.models import Op
from tasks.states import FINISHED, LIVE, Status

pytestmark = pytest.mark.rule("SPEC §9")

WSID = "ws-1"
SNAPSHOT = "snap-00000000-0000-7000-8000-000000000001"
TASK = "task-00000000-0000-7000-8000-000000000002"
SWITCH = "task-00000000-0000-7000-8000-000000000003"
TREE = SWITCH.replace("task", "live")
FACTS = SnapshotFacts(
    task_id=TASK,
    fence=4,
    created_at="2026-05-04T12:00:00.000000Z",
    message="",
    entries=3,
    bytes=1024,
    source_live_id="initial",
    manifest_digest="sha256:0",
    clone_driver="copy",
)
ROW = SnapshotRow(entries=3, bytes=1024, manifest_digest="sha256:0", created_by=TASK)
ROWS = WorkspaceRows(WSID, exists=True, root_path="/ws/ws-1", current_path="/ws/ws-1/live/initial")
EMPTY = Inventory(
    wsid=WSID, fence=4, current="live/initial", live=("initial",), snapshots=(), staging=(), freeze_asked=False
)


def disk(facts: SnapshotFacts | None = FACTS, name: str = SNAPSHOT) -> Inventory:
    """With one thing below snapshots/."""
    return replace(EMPTY, snapshots=(SnapshotOnDisk(name, facts),))


def rows(row: SnapshotRow | None = ROW, *, tasks: dict[str, TaskRow] | None = None, **fields: Any) -> WorkspaceRows:
    return replace(ROWS, snapshots={} if row is None else {SNAPSHOT: row}, tasks=tasks or {}, **fields)


def made_by(status: Status) -> dict[str, TaskRow]:
    return {TASK: TaskRow(Op.SNAPSHOT_CREATE, status, SNAPSHOT)}


def only(rows: WorkspaceRows, found: Inventory | None) -> tuple[DriftKind, Repair | None]:
    """The one finding."""
    (finding,) = compare(rows, found)
    return finding.kind, finding.repair


def test_what_agrees_is_no_finding() -> None:
    assert compare(rows(), disk()) == []


def test_a_workspace_that_was_never_initialised_may_lie_on_disk_in_any_state() -> None:
    young = replace(ROWS, current_path=None)
    assert compare(young, None) == []
    assert compare(young, EMPTY) == []
    assert compare(young, replace(EMPTY, current=None, live=())) == []


# — snapshots —


def test_a_snapshot_of_which_nobody_knows_anything_gets_its_row() -> None:
    assert only(rows(None), disk()) == (DriftKind.MISSING_ROW, Repair.INSERT_ROW)


def test_so_does_that_of_a_task_that_succeeded() -> None:
    assert only(rows(None, tasks=made_by(Status.SUCCEEDED)), disk()) == (DriftKind.MISSING_ROW, Repair.INSERT_ROW)


@pytest.mark.parametrize("status", [Status.CANCELED, Status.DEAD])
def test_what_the_row_of_its_task_denies_is_only_adopted(status: Status) -> None:
    assert only(rows(None, tasks=made_by(status)), disk()) == (DriftKind.MISSING_ROW, Repair.ADOPT)


@pytest.mark.parametrize("status", LIVE)
def test_what_an_unfinished_task_has_published_is_no_drift(status: Status) -> None:
    assert compare(rows(None, tasks=made_by(status)), disk()) == []


@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, entries=-1),
        replace(FACTS, bytes=2**63),
        replace(FACTS, created_at="yesterday"),
        replace(FACTS, created_at="2026-05-04T12:00:00"),
        replace(FACTS, created_at="2026-05-04T12:00:00+02:00"),
    ],
)
def test_a_descriptor_that_no_row_can_hold_is_left_to_people(facts: SnapshotFacts) -> None:
    assert only(rows(None), disk(facts)) == (DriftKind.MISSING_ROW, None)


def test_a_row_without_its_snapshot_is_an_orphan() -> None:
    assert only(rows(), EMPTY) == (DriftKind.ORPHANED_ROW, Repair.MARK_ORPHANED)


def test_an_orphan_that_is_known_as_one_is_no_finding_any_more() -> None:
    assert compare(rows(replace(ROW, orphaned=True)), EMPTY) == []


def test_an_orphan_that_came_back_is_found_again() -> None:
    assert only(rows(replace(ROW, orphaned=True)), disk()) == (DriftKind.ORPHAN_FOUND, Repair.CLEAR_ORPHANED)


def test_half_a_snapshot_is_none() -> None:
    kinds = [finding.kind for finding in compare(rows(), disk(None))]
    assert kinds == [DriftKind.ORPHANED_ROW, DriftKind.INVALID_SNAPSHOT]


@pytest.mark.parametrize("name", [SNAPSHOT, "notes", "snap-1"])
def test_a_directory_that_is_no_snapshot_is_reported_and_left(name: str) -> None:
    assert only(rows(None), disk(None, name)) == (DriftKind.INVALID_SNAPSHOT, None)


def test_the_directory_of_a_dropped_snapshot_is_the_sweepers() -> None:
    dropped = replace(ROW, deleted_by=TASK)
    assert only(rows(dropped, tasks=made_by(Status.SUCCEEDED)), disk()) == (DriftKind.UNDELETED_DIRECTORY, None)
    assert only(rows(dropped), disk(None)) == (DriftKind.UNDELETED_DIRECTORY, None)


@pytest.mark.parametrize("status", LIVE)
def test_while_its_drop_is_not_finished_its_directory_may_be_there(status: Status) -> None:
    drop = {TASK: TaskRow(Op.SNAPSHOT_DROP, status, SNAPSHOT)}
    assert compare(rows(replace(ROW, deleted_by=TASK), tasks=drop), disk()) == []


def test_a_dropped_snapshot_that_is_gone_is_no_orphan() -> None:
    assert compare(rows(replace(ROW, deleted_by=TASK)), EMPTY) == []


@pytest.mark.parametrize("field", ["entries", "bytes", "manifest_digest", "created_by"])
def test_row_and_descriptor_that_differ_are_a_mismatch_that_says_both(field: str) -> None:
    value: object = "other" if isinstance(getattr(ROW, field), str) else 7
    differing: dict[str, Any] = {field: value}
    (finding,) = compare(rows(replace(ROW, **differing)), disk())
    assert (finding.kind, finding.repair) == (DriftKind.MISMATCH, None)
    assert finding.detail.startswith(f"{field}: the row says {value}, the descriptor ")


# — the pointer —

SWITCHED = replace(EMPTY, current=f"live/{TREE}", live=("initial", TREE))


def switch(status: Status) -> dict[str, TaskRow]:
    return {SWITCH: TaskRow(Op.SET_CURRENT, status, SNAPSHOT)}


def test_a_symlink_that_points_elsewhere_is_followed_by_the_row() -> None:
    assert only(rows(None), SWITCHED) == (DriftKind.POINTER, Repair.POINT)


@pytest.mark.parametrize("status", FINISHED)
def test_also_when_the_task_that_switched_it_is_over(status: Status) -> None:
    assert only(rows(None, tasks=switch(status)), SWITCHED) == (DriftKind.POINTER, Repair.POINT)


@pytest.mark.parametrize("status", LIVE)
def test_a_switch_that_is_not_applied_yet_is_no_drift(status: Status) -> None:
    assert compare(rows(None, tasks=switch(status)), SWITCHED) == []


@pytest.mark.parametrize(
    "target", ["/etc", "live/../../other", f"live/{TREE}", "live/", "initial", "live/live/initial"]
)
def test_a_symlink_to_what_is_no_tree_of_ours_is_not_followed(target: str) -> None:
    assert only(rows(None), replace(EMPTY, current=target)) == (DriftKind.POINTER, None)


def test_the_snapshot_of_a_tree_is_what_its_task_names() -> None:
    assert named_snapshot(rows(tasks=switch(Status.DEAD)), TREE) == SNAPSHOT
    assert named_snapshot(rows(), TREE) is None
    assert named_snapshot(rows(tasks=switch(Status.DEAD)), "initial") is None
    other = {SWITCH: TaskRow(Op.SNAPSHOT_CREATE, Status.SUCCEEDED, SNAPSHOT)}
    assert named_snapshot(rows(tasks=other), TREE) is None


# — the workspace —


def test_no_symlink_is_reported() -> None:
    assert only(rows(None), replace(EMPTY, current=None)) == (DriftKind.MISSING_CURRENT, None)


def test_a_symlink_that_points_nowhere_is_reported() -> None:
    assert only(rows(None), replace(EMPTY, live=())) == (DriftKind.MISSING_CURRENT, None)


def test_a_workspace_that_is_gone_is_reported_and_its_snapshots_are_orphans() -> None:
    kinds = [finding.kind for finding in compare(rows(), None)]
    assert kinds == [DriftKind.MISSING_WORKSPACE, DriftKind.ORPHANED_ROW]


def test_of_a_workspace_that_no_row_knows_nothing_else_is_said() -> None:
    unknown = WorkspaceRows(WSID, exists=False)
    assert compare(unknown, disk()) == [Finding(DriftKind.UNKNOWN_WORKSPACE, WSID, ".", "no row knows it")]
    assert compare(unknown, None) == []


def test_what_is_none_of_ours_is_reported_by_its_name() -> None:
    findings = compare(rows(None), replace(EMPTY, strange=("notes", "old")))
    assert [(f.kind, f.what, f.repair) for f in findings] == [
        (DriftKind.STRANGE, "notes", None),
        (DriftKind.STRANGE, "old", None),
    ]

"""What goes from the disk and what stays, and why (SPEC §2, §7, §9; RK-04, G20)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from executor.upkeep import Inventory, SnapshotOnDisk
from snapshots.drift import DriftKind
from snapshots.leftovers import Kind, Known, Verdict, judge, to_be_scanned

pytestmark = [pytest.mark.rule("RK-04"), pytest.mark.rule("G20")]

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
GRACE = timedelta(hours=24)
LONG_AGO = NOW - timedelta(days=2)
OLD = "live-00000000-0000-7000-8000-000000000001"
NEW = "live-00000000-0000-7000-8000-000000000002"
OLD_TASK = OLD.replace("live", "task")
SNAPSHOT = "snap-00000000-0000-7000-8000-000000000003"
DROP = "task-00000000-0000-7000-8000-000000000004"
EMPTY = Inventory(wsid="ws-1", fence=7, current=f"live/{NEW}", live=(), snapshots=(), staging=(), freeze_asked=False)
SUPERSEDED = Known(current_live_id=NEW, makers={OLD: "SUCCEEDED"}, superseded={OLD: LONG_AGO})


def verdict(found: Inventory, known: Known, *, at_rest: bool = True, **more: Any) -> Verdict:
    """Of the one thing that was found."""
    options: dict[str, Any] = {
        "now": NOW,
        "grace": GRACE,
        "last_written": {OLD: LONG_AGO - timedelta(seconds=1)},
    } | more
    (only,) = judge(found, known, at_rest=at_rest, **options)
    return only


def of_tree(known: Known, name: str = OLD, **more: Any) -> Verdict:
    return verdict(replace(EMPTY, live=(name,)), known, **more)


def test_a_tree_goes_when_its_grace_is_over_and_nobody_wrote_to_it() -> None:
    assert of_tree(SUPERSEDED).goes


def test_the_first_tree_goes_like_any_other() -> None:
    known = Known(current_live_id=NEW, superseded={"initial": LONG_AGO})
    assert of_tree(known, "initial", last_written={"initial": LONG_AGO}).goes


def test_within_its_grace_it_stays_as_the_undo_of_the_undo() -> None:
    recent = replace(SUPERSEDED, superseded={OLD: NOW - GRACE + timedelta(seconds=1)})
    assert not of_tree(recent).goes
    assert of_tree(recent).drift is None


def test_what_the_symlink_points_at_never_goes_whatever_the_rows_say() -> None:
    found = replace(EMPTY, current=f"live/{OLD}", live=(OLD,))
    assert not verdict(found, SUPERSEDED).goes


def test_what_the_row_names_never_goes_wherever_the_symlink_points() -> None:
    assert not of_tree(replace(SUPERSEDED, current_live_id=OLD)).goes


@pytest.mark.parametrize("maker", ["SUCCEEDED", "DEAD"])
def test_the_tree_of_a_task_that_is_not_finished_stays(maker: str) -> None:
    known = replace(SUPERSEDED, makers={OLD: maker}, live_tasks=frozenset({OLD_TASK}))
    assert not of_tree(known).goes


def test_a_tree_that_was_written_to_after_its_switch_stays_for_ever_and_is_counted() -> None:
    found = of_tree(SUPERSEDED, last_written={OLD: LONG_AGO + timedelta(microseconds=1)})
    assert (found.goes, found.drift) == (False, DriftKind.STALE_WRITER)
    assert "after it was switched away from" in found.why


def test_a_tree_that_nobody_looked_into_stays_for_now() -> None:
    assert not of_tree(SUPERSEDED, last_written={}).goes


@pytest.mark.parametrize("status", ["DEAD", "CANCELED"])
def test_a_tree_that_was_never_switched_to_goes_at_once(status: str) -> None:
    found = of_tree(Known(current_live_id=NEW, makers={OLD: status}), last_written={})
    assert found.goes
    assert status in found.why


@pytest.mark.parametrize("makers", [{}, {OLD: "SUCCEEDED"}])
def test_a_tree_that_nobody_can_account_for_stays_and_is_counted(makers: dict[str, str]) -> None:
    found = of_tree(Known(current_live_id=NEW, makers=makers))
    assert (found.goes, found.drift) == (False, DriftKind.UNKNOWN_TREE)


def test_what_is_no_tree_of_ours_stays_and_is_counted() -> None:
    found = of_tree(SUPERSEDED, "notes")
    assert (found.goes, found.drift) == (False, DriftKind.STRANGE)


def test_only_trees_whose_grace_is_over_are_scanned() -> None:
    found = replace(EMPTY, live=("initial", NEW, OLD))
    known = replace(SUPERSEDED, superseded={OLD: LONG_AGO, "initial": NOW})
    assert to_be_scanned(found, known, now=NOW, grace=GRACE) == [OLD]
    never = Known(current_live_id=NEW, makers={OLD: "DEAD"})
    assert to_be_scanned(replace(EMPTY, live=(OLD,)), never, now=NOW, grace=GRACE) == []


def of_snapshot(known: Known, name: str = SNAPSHOT) -> Verdict:
    return verdict(replace(EMPTY, snapshots=(SnapshotOnDisk(name),)), known)


def test_the_directory_of_a_dropped_snapshot_goes() -> None:
    found = of_snapshot(Known(dropped_snapshots={SNAPSHOT: DROP}))
    assert found.goes
    assert DROP in found.why


def test_while_its_drop_is_not_finished_it_is_the_drops_own() -> None:
    assert not of_snapshot(Known(dropped_snapshots={SNAPSHOT: DROP}, live_tasks=frozenset({DROP}))).goes


def test_a_kept_snapshot_stays() -> None:
    assert not of_snapshot(Known(kept_snapshots=frozenset({SNAPSHOT}))).goes


def test_a_snapshot_that_no_row_knows_stays_for_wvs_index() -> None:
    found = of_snapshot(Known())
    assert not found.goes
    assert "wvs_index" in found.why


@pytest.mark.parametrize(("fence", "at_rest", "goes"), [(6, False, True), (7, False, False), (7, True, True)])
def test_staging_goes_when_its_attempt_cannot_publish_any_more(fence: int, at_rest: bool, goes: bool) -> None:
    assert verdict(replace(EMPTY, staging=(f"{DROP}.{fence}",)), Known(), at_rest=at_rest).goes is goes


def test_what_is_no_staging_of_ours_stays() -> None:
    found = verdict(replace(EMPTY, staging=("notes.txt",)), Known())
    assert (found.goes, found.drift) == (False, DriftKind.STRANGE)


@pytest.mark.parametrize("at_rest", [True, False])
def test_a_freeze_is_taken_back_where_nobody_can_be_at_work(at_rest: bool) -> None:
    found = verdict(replace(EMPTY, freeze_asked=True), Known(), at_rest=at_rest)
    assert (found.kind, found.goes) == (Kind.FREEZE, at_rest)

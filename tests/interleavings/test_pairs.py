"""All orders of the steps of two who meet: what must hold holds after each, and each kind of end is seen.

Where nothing is said of switches the orders are complete, up to steps that commute (tests/interleavings/actor.py).
Elsewhere they are all those in which nobody is interrupted more than so many times.
"""

from __future__ import annotations

from functools import partial

import pytest

from tasks.states import Status
from tests.interleavings import inserts, runs
from tests.interleavings.stage import every_order
from tests.interleavings.world import World

pytestmark = pytest.mark.timeout(600)
"""Hundreds of plays in a test: seconds on a quiet machine, minutes on a busy one."""


@pytest.mark.rule("P0-01")
def test_a_switch_and_a_drop_of_one_snapshot_are_never_both_accepted(world: World) -> None:
    assert set(every_order(partial(inserts.switch_and_drop, world))) == {"set_current", "snapshot_drop"}


@pytest.mark.rule("P0-01")
def test_postgresql_alone_keeps_a_live_switch_and_a_dropped_snapshot_apart(world: World) -> None:
    assert set(every_order(partial(inserts.insert_and_mark, world))) == {"inserted", "marked"}


@pytest.mark.rule("P0-01")
def test_the_claim_of_a_drop_and_a_switch_past_every_service_never_both_win(world: World) -> None:
    assert set(every_order(partial(inserts.insert_and_claim_of_drop, world))) == {"DEAD", "RUNNING"}


@pytest.mark.rule("P1-02")
@pytest.mark.parametrize("status", [Status.PENDING, Status.FAILED])
def test_a_canceled_task_is_never_claimed(world: World, status: Status) -> None:
    ends = every_order(partial(runs.claim_and_cancel, world, status=status))
    assert set(ends) == {"CANCELED", "RUNNING"}


@pytest.mark.rule("G9")
def test_a_run_is_ended_by_its_worker_or_by_the_rescue_and_by_one_only(world: World) -> None:
    assert set(every_order(partial(runs.apply_and_rescue, world))) == {"SUCCEEDED", "FAILED"}


@pytest.mark.rule("G9")
def test_a_zombie_changes_nothing_of_the_run_that_came_after_it(world: World) -> None:
    ends = every_order(partial(runs.apply_and_heir, world), most_switches=3)
    assert set(ends) == {"SUCCEEDED", "RUNNING"}


@pytest.mark.rule("G11")
@pytest.mark.parametrize("cancel_requested", [False, True])
def test_a_lost_task_that_worker_and_scheduler_find_is_rescued_once(world: World, *, cancel_requested: bool) -> None:
    ends = every_order(partial(runs.claim_and_rescue, world, cancel_requested=cancel_requested), most_switches=3)
    assert set(ends) == ({"FAILED", "CANCELED"} if cancel_requested else {"FAILED"})


@pytest.mark.rule("G14")
def test_what_was_published_has_succeeded_whenever_it_is_canceled(world: World) -> None:
    assert set(every_order(partial(runs.apply_and_cancel, world))) == {"too late", "asked"}


@pytest.mark.rule("SPEC §6")
def test_a_task_whose_cancel_was_asked_for_is_not_retried(world: World) -> None:
    assert set(every_order(partial(runs.fail_and_cancel, world))) == {"while RUNNING", "while CANCELED"}


@pytest.mark.rule("G21")
@pytest.mark.parametrize("insert", inserts.INSERTS)
def test_no_task_is_accepted_for_a_workspace_that_is_disabled_meanwhile(world: World, insert: str) -> None:
    ends = every_order(partial(inserts.disable_and_insert, world, insert=insert))
    assert set(ends) == {"DISABLED", "ACTIVE"}


@pytest.mark.rule("G21")
def test_postgresql_alone_keeps_live_tasks_out_of_disabled_workspaces(world: World) -> None:
    assert set(every_order(partial(inserts.disable_and_straight_insert, world))) == {"disabled", "inserted"}


@pytest.mark.rule("SPEC §6")
def test_a_bell_that_found_the_lock_taken_is_not_lost(world: World) -> None:
    assert set(every_order(partial(inserts.release_and_insert, world), most_switches=3)) == {"SUCCEEDED"}


@pytest.mark.rule("SPEC §6")
def test_a_bell_that_found_a_sweep_at_work_is_rung_again(world: World) -> None:
    ends = every_order(partial(inserts.rest_and_insert, world), most_switches=3)
    assert set(ends) == {"SUCCEEDED", "PENDING, rung again", "SUCCEEDED, rung again"}

"""Faults in a fixed order, on real processes: what was promised of each of them (SPEC §6, ENGINE's crash table).

WVS_OUTAGE_SECONDS says how long Redis is away (5); WVS_KILLS how many workers are killed in mid-clone (3).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from tests.chaos import verdict
from tests.chaos.base import Base
from tests.chaos.caller import Caller, Ledger
from tests.chaos.fleet import Fleet, running_fleet
from tests.chaos.kills import kill_in_mid_clone
from tests.chaos.load import loaded, make_workspaces, wait_posts
from wvs_project.stack.programs import WORKER
from wvs_project.stack.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
LIMIT = 120.0
OUTAGE_SECONDS = float(os.environ.get("WVS_OUTAGE_SECONDS") or 5)
KILLS = int(os.environ.get("WVS_KILLS") or 3)
FENCELESS = ("-m", "tests.chaos.fenceless_worker")


@pytest.mark.rule("G11")
@pytest.mark.rule("G5")
def test_workers_killed_in_mid_clone_leave_tasks_that_end_as_they_should_and_never_run_twice_at_once(
    base: Base,
) -> None:
    done = kill_in_mid_clone(base, kills=KILLS, workspaces=min(KILLS, 10))
    assert done.violations == []
    assert set(done.ends) == {"SUCCEEDED"}
    assert sum(done.ends.values()) == KILLS + done.missed


def _a_zombie_and_its_heir(base: Base, directory: Path, program: tuple[str, ...]) -> list[str]:
    """A worker is stopped between execute and apply and loses its guard; another has claimed the task when it wakes up.

    What the verdict says in the end.
    """
    a_may_go, b_may_go = directory / "a-may-go", directory / "b-may-go"
    with running_fleet(base, workers=0, schedulers=1) as fleet:
        settings = {"DJANGO_SETTINGS_MODULE": "wvs_project.settings"}
        pause_a = fleet.failpoints(f"engine.executed=pause:{a_may_go}")
        caller = Caller(fleet.api_url, Ledger(), fleet.keeper._ending)
        # The workspace is made by another worker: the first to come to its failpoint is the one that is meant.
        fleet.add_worker("worker-maker")
        make_workspaces(fleet, ["zombie"])
        fleet.keeper.leave_dead("worker-maker")
        fleet.add_worker("worker-a", program=program, **settings, WVS_FAILPOINTS=pause_a)
        task_id = caller.write("POST", "/workspaces/zombie/snapshots", {})["task_id"]
        fleet.keeper.wait_started("worker-a")
        _published(fleet, "zombie")
        zombie = fleet.keeper.signal("worker-a", SIGSTOP)
        assert zombie is not None
        fleet.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wvs-guard'")
        pause_b = fleet.failpoints(f"engine.claim.committed=pause:{b_may_go}")
        fleet.add_worker("worker-b", WVS_FAILPOINTS=pause_b)
        _claimed_again(fleet, task_id)
        a_may_go.touch()
        fleet.keeper.send(zombie, SIGCONT)
        _has_settled(fleet, task_id)
        b_may_go.touch()
        caller.close()
        fleet.wait_settled(LIMIT)
        return verdict.violations(fleet, [task_id])


def _published(fleet: Fleet, wsid: str) -> None:
    """The worker has let go of the workspace's lock after it published: it stands before its apply."""
    snapshots = fleet.base.ws / wsid / "snapshots"

    def is_published() -> bool:
        return any(snapshots.iterdir()) and not any((fleet.base.ws / wsid / ".wvs/staging").iterdir())

    wait_until(is_published, limit=LIMIT, what="the snapshot")


def _claimed_again(fleet: Fleet, task_id: str) -> None:
    def is_claimed() -> bool:
        claims = "SELECT count(*) FROM wvs.task_history WHERE task_id = %s AND new_status = 'RUNNING'"
        return bool(fleet.query(claims, task_id)[0][0] >= 2)

    wait_until(is_claimed, limit=LIMIT, what="the second claim")


def _has_settled(fleet: Fleet, task_id: str) -> None:
    """The zombie has tried to write: it was told that it is overtaken, or it has written."""

    def has_tried() -> bool:
        wrote = "SELECT 1 FROM wvs.tasks WHERE task_id = %s AND status = 'SUCCEEDED'"
        return bool(fleet.log_lines("worker-a", "settle.overtaken") or fleet.query(wrote, task_id))

    wait_until(has_tried, limit=LIMIT, what="the zombie's try")


@pytest.mark.rule("G9")
@pytest.mark.rule("I8")
def test_a_worker_that_was_stopped_before_its_apply_changes_nothing_when_it_goes_on(base: Base, tmp_path: Path) -> None:
    assert _a_zombie_and_its_heir(base, tmp_path, WORKER) == []


@pytest.mark.rule("G9")
@pytest.mark.rule("I8")
def test_without_the_fence_clause_it_does_and_the_checker_finds_it(base: Base, tmp_path: Path) -> None:
    found = _a_zombie_and_its_heir(base, tmp_path, FENCELESS)
    assert any("I8" in violation for violation in found), found


@pytest.mark.rule("SPEC §6")
def test_while_redis_is_away_every_request_is_accepted_and_everything_is_done_when_it_is_back(base: Base) -> None:
    with running_fleet(base, workers=2, schedulers=1) as fleet:
        with loaded(fleet) as ledger:
            wait_posts(ledger, 5)
            with base.without_redis():
                until = time.monotonic() + OUTAGE_SECONDS
                while time.monotonic() < until:
                    wait_posts(ledger, 3)
            wait_posts(ledger, 5)
        settled = fleet.wait_settled(LIMIT)
        statuses = dict(fleet.query("SELECT status, count(*) FROM wvs.tasks GROUP BY 1"))
        print(f"{ledger.posts} accepted, slowest {ledger.slowest_post:.3f} s, all done {settled:.1f} s later")
        assert {name for name in ledger.answers if name.startswith("POST")} == {"POST 202"}
        assert set(statuses) == {"SUCCEEDED"}
        assert fleet.keeper.deaths == []
        assert verdict.violations(fleet, ledger.accepted) == []


@pytest.mark.rule("SPEC §6")
def test_a_postgresql_that_crashes_under_load_kills_no_process_and_loses_no_task(base: Base) -> None:
    with running_fleet(base, workers=2, schedulers=2) as fleet:
        with loaded(fleet) as ledger:
            for _ in range(2):
                wait_posts(ledger, 5)
                base.crash_postgres()
            wait_posts(ledger, 5)
        fleet.wait_settled(LIMIT)
        statuses = dict(fleet.query("SELECT status, count(*) FROM wvs.tasks GROUP BY 1"))
        print(f"{ledger.posts} accepted, {ledger.repeated} repeated, {statuses}")
        assert fleet.keeper.deaths == []
        assert set(statuses) == {"SUCCEEDED"}
        assert ledger.wrong == []
        assert verdict.violations(fleet, ledger.accepted) == []

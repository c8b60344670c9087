"""The scheduler: rings for due heads that nobody has begun; a hint lost costs seconds, never a task (SPEC §6)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import transaction

from tasks import bells as notifications
from tasks.heads import HEADS, heads
from tasks.locks import GuardPool
from tasks.models import AuditEvent, Task
from tasks.scheduler import UNHEARD_SECONDS, Rung, Scheduler
from tasks.states import LIVE, Status
from tests.engine.conftest import BACKOFF
from tests.engine.world import lost, query, status_of, wait_status
from tests.factories import from_now, make_task, make_workspace, next_fence
from tests.waiting import InThread, eventually

pytestmark = pytest.mark.rule("SPEC §6")


def test_a_due_task_that_nobody_has_begun_for_five_seconds_is_rung_for(scheduler: Scheduler, bells: list[str]) -> None:
    task = make_task(make_workspace(), next_run_at=from_now(-UNHEARD_SECONDS))
    scheduler.beat()
    assert bells == [task.workspace_id]


def test_it_is_not_rung_for_again_at_once(scheduler: Scheduler, bells: list[str]) -> None:
    make_task(make_workspace(), next_run_at=from_now(-UNHEARD_SECONDS))
    scheduler.beat()
    wait = scheduler.beat()
    assert len(bells) == 1
    assert wait <= UNHEARD_SECONDS


def test_while_workers_are_busy_it_is_rung_for_again_after_twice_as_long_each_time_up_to_a_minute() -> None:
    waits = [Rung("task", None, at=100.0, times=times).again_at - 100.0 for times in range(1, 7)]
    assert waits == [5, 10, 20, 40, 60, 60]


def test_what_comes_to_the_head_is_rung_for_though_the_one_before_was_just_rung_for(
    scheduler: Scheduler, bells: list[str]
) -> None:
    workspace = make_workspace()
    first, _ = (make_task(workspace, next_run_at=from_now(-60)) for _ in range(2))
    scheduler.beat()
    Task.objects.filter(pk=first.pk).update(status=Status.CANCELED, ended_at=from_now(0))
    scheduler.beat()
    assert bells == [workspace.wsid] * 2


def test_a_retry_is_rung_for_at_once_though_the_one_before_was_just_rung_for_and_failed(
    scheduler: Scheduler, bells: list[str]
) -> None:
    task = make_task(make_workspace(), status=Status.FAILED, next_run_at=from_now(0), fence=next_fence())
    scheduler.beat()
    # Somebody heard it, and found its executor away: that costs no attempt, and is over at once.
    Task.objects.filter(pk=task.pk).update(fence=next_fence())
    scheduler.beat()
    assert bells == [task.workspace_id] * 2


def test_a_fresh_task_has_its_own_bell(scheduler: Scheduler, bells: list[str]) -> None:
    make_task(make_workspace(), next_run_at=from_now(0))
    wait = scheduler.beat()
    assert bells == []
    assert 0 < wait <= UNHEARD_SECONDS


def test_a_retry_that_is_due_is_rung_for_at_once(scheduler: Scheduler, bells: list[str]) -> None:
    task = make_task(make_workspace(), status=Status.FAILED, next_run_at=from_now(0))
    scheduler.beat()
    assert bells == [task.workspace_id]


def test_a_task_that_was_handed_back_before_its_first_attempt_counts_is_rung_for_at_once(
    scheduler: Scheduler, bells: list[str]
) -> None:
    task = make_task(make_workspace(), status=Status.FAILED, attempt=0, next_run_at=from_now(0))
    scheduler.beat()
    assert bells == [task.workspace_id]


def test_a_retry_that_is_not_due_is_waited_for(scheduler: Scheduler, bells: list[str]) -> None:
    make_task(make_workspace(), status=Status.FAILED, next_run_at=from_now(2))
    wait = scheduler.beat()
    assert bells == []
    assert wait <= 2


def test_only_the_head_of_a_workspace_counts(scheduler: Scheduler, bells: list[str]) -> None:
    workspace = make_workspace()
    make_task(workspace, status=Status.FAILED, next_run_at=from_now(3600))
    make_task(workspace, next_run_at=from_now(-3600))
    scheduler.beat()
    assert bells == []


def test_an_idle_system_is_looked_at_in_the_idle_beat_and_a_busy_one_in_the_other(guards: GuardPool) -> None:
    scheduler = Scheduler(guards=guards, backoff_base=BACKOFF, poll_interval=1.0, idle_interval=5.0)
    assert scheduler.beat() == 5.0
    task = lost(make_workspace())
    guard = guards.acquire(task.workspace_id)
    assert guard is not None
    assert scheduler.beat() == 1.0
    guards.release(guard)


@pytest.mark.rule("G11")
def test_what_is_due_is_watched_in_the_quick_beat_for_it_may_run_and_be_lost_at_any_moment(
    guards: GuardPool,
) -> None:
    scheduler = Scheduler(guards=guards, backoff_base=BACKOFF, poll_interval=1.0, idle_interval=5.0)
    retry = make_task(make_workspace(), status=Status.FAILED, next_run_at=from_now(3600))
    assert scheduler.beat() == 5.0
    Task.objects.filter(pk=retry.pk).update(next_run_at=from_now(0))
    assert scheduler.beat() == 1.0
    assert scheduler.beat() == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_the_heads_are_what_a_naive_look_finds(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(chance.randint(0, 8)):
        workspace = make_workspace()
        running = chance.random() < 0.3
        for status in chance.choices([s for s in Status if s is not Status.RUNNING], k=chance.randint(0, 5)):
            make_task(workspace, status=status)
        if running:
            make_task(workspace, status=Status.RUNNING)
    naive: dict[str, Task] = {}
    for task in Task.objects.filter(status__in=LIVE).order_by("seq"):
        naive.setdefault(task.workspace_id, task)
    found = heads()
    assert {head.wsid: (head.task_id, head.status) for head in found} == {
        wsid: (task.task_id, task.status) for wsid, task in naive.items()
    }
    assert len(found) == len(naive)


def test_the_heads_are_found_by_the_index_of_live_tasks() -> None:
    make_task(make_workspace())
    with transaction.atomic():
        query("SELECT set_config('enable_seqscan', 'off', true)")
        plan = query("EXPLAIN " + HEADS)
    assert any("tasks_live_by_seq" in line for (line,) in plan)
    assert not any("Seq Scan" in line for (line,) in plan)


@contextmanager
def _running(scheduler: Scheduler) -> Iterator[InThread[None]]:
    thread = InThread(scheduler.run)
    try:
        eventually(_listeners, "a scheduler to lead")
        yield thread
    finally:
        scheduler.stop()
        thread.result()


def _listeners() -> list[tuple[int]]:
    """The server processes of schedulers that lead."""
    return query(
        "SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l USING (pid) "
        "WHERE a.application_name = 'wvs-scheduler' AND l.locktype = 'advisory' AND l.granted"
    )


@pytest.fixture
def patient(guards: GuardPool) -> Scheduler:
    """One that, left alone, looks once in an hour: whatever it does sooner, it was told."""
    return Scheduler(guards=guards, backoff_base=BACKOFF, poll_interval=0.05, idle_interval=3600)


def test_it_hears_of_work_that_is_committed(patient: Scheduler, bells: list[str]) -> None:
    with _running(patient):
        task = make_task(make_workspace(), status=Status.FAILED)
        notifications.announce_work(task.workspace_id)
        eventually(lambda: task.workspace_id in bells, "its bell")


@pytest.mark.rule("G11")
def test_it_rescues_while_it_runs(guards: GuardPool) -> None:
    task = lost(make_workspace())
    with _running(Scheduler(guards=guards, backoff_base=BACKOFF)):
        wait_status(task, Status.FAILED)


def test_it_survives_the_loss_of_its_connections(patient: Scheduler, bells: list[str]) -> None:
    with _running(patient):
        (old,) = _listeners()
        query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        eventually(lambda: [row for row in _listeners() if row != old], "a new connection")
        task = make_task(make_workspace(), status=Status.FAILED)
        notifications.announce_work(task.workspace_id)
        eventually(lambda: task.workspace_id in bells, "its bell")


@pytest.mark.rule("G11")
def test_two_schedulers_at_once_rescue_a_task_once(
    scheduler: Scheduler, make_scheduler: Callable[[], Scheduler]
) -> None:
    tasks = [lost(make_workspace()) for _ in range(10)]
    both = [InThread(one.beat) for one in (scheduler, make_scheduler())]
    for thread in both:
        thread.result()
    assert {status_of(task) for task in tasks} == {Status.FAILED}
    assert AuditEvent.objects.filter(action="task.rescue").count() == len(tasks)


@pytest.mark.rule("G11")
def test_a_workspace_row_that_stays_locked_does_not_stop_it(scheduler: Scheduler, bells: list[str]) -> None:
    task = lost(make_workspace())
    with transaction.atomic():
        query("SELECT 1 FROM workspaces WHERE wsid = %s FOR NO KEY UPDATE", task.workspace_id)
        beat = InThread(scheduler.beat)
        beat.wait_blocked()
        beat.result()
    assert status_of(task) is Status.RUNNING
    scheduler.beat()
    assert status_of(task) is Status.FAILED

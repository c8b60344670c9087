"""What the engine counts is what has happened, no more and no less (SPEC §11)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY, CollectorRegistry

from executor.contract import FaultReason
from tasks.backlog import show_backlog
from tasks.engine import Engine
from tasks.locks import GuardPool, hold_state
from tasks.metrics import Rescue
from tasks.models import Op, Task
from tasks.scheduler import HUNG_SECONDS, Scheduler
from tasks.services import cancel_task
from tasks.states import FINISHED, Status
from tests.engine.world import Held, guard_backends, lost
from tests.factories import ACTOR, from_now, make_due, make_task, make_workspace
from tests.fakes import FakeExecutor, Gate, fault
from tests.waiting import InThread, eventually
from workspaces.models import Workspace
from workspaces.services import disable_workspace, enable_workspace
from workspaces.states import TRANSITIONS, WorkspaceState

pytestmark = [pytest.mark.rule("§11"), pytest.mark.django_db(transaction=True)]


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None, (name, labels)
    return found


class Counting:
    """What a sample grew by since now."""

    def __init__(self, name: str, **labels: str) -> None:
        self._name, self._labels, self._before = name, labels, value(name, **labels)

    @property
    def grew(self) -> float:
        return value(self._name, **self._labels) - self._before


def ended(op: str, status: Status) -> Counting:
    return Counting("wvs_task_total", op=op, status=status.value)


def test_every_series_is_there_from_the_start() -> None:
    for op in Op.values:
        for status in FINISHED:
            ended(op, status)
        for name in ("wvs_task_duration_seconds_count", "wvs_task_wait_seconds_count", "wvs_task_retry_total"):
            Counting(name, op=op)
    for reason in Rescue:
        Counting("wvs_task_rescued_total", reason=reason)
    for old, new in TRANSITIONS:
        transition(old, new)


def test_an_end_is_counted_once_it_is_committed() -> None:
    task = make_task(make_workspace())
    canceled = ended(task.op, Status.CANCELED)
    took = Counting("wvs_task_duration_seconds_count", op=task.op)
    with transaction.atomic():
        cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1")
        assert (canceled.grew, took.grew) == (0, 0)
    assert (canceled.grew, took.grew) == (1, 1)


def test_what_is_rolled_back_is_not_counted() -> None:
    task = make_task(make_workspace())
    canceled = ended(task.op, Status.CANCELED)
    with transaction.atomic():
        cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1")
        transaction.set_rollback(True)
    assert canceled.grew == 0


def test_a_run_is_counted_by_its_operation_with_its_times_from_the_rows(engine: Engine) -> None:
    task = make_task(make_workspace())
    Task.objects.filter(pk=task.pk).update(created_at=from_now(-100), next_run_at=from_now(-40))
    done, others = ended(task.op, Status.SUCCEEDED), ended(Op.SET_CURRENT, Status.SUCCEEDED)
    took = Counting("wvs_task_duration_seconds_sum", op=task.op)
    waited = Counting("wvs_task_wait_seconds_sum", op=task.op)
    locks = Counting("wvs_lock_wait_seconds_count")
    engine.serve(task.workspace_id)
    assert (done.grew, others.grew, locks.grew) == (1, 0, 1)
    assert 100 <= took.grew < 140
    assert 40 <= waited.grew < 80


def test_the_wait_for_a_lock_is_in_the_wait(engine: Engine) -> None:
    task = make_task(make_workspace())
    waited = Counting("wvs_lock_wait_seconds_sum")
    with transaction.atomic():
        hold_state(task.workspace_id)
        serving = InThread(lambda: engine.serve(task.workspace_id))
        serving.result()  # PostgreSQL gives up waiting for the row after its lock_timeout
    assert waited.grew >= 1


def test_a_bell_for_nothing_is_counted_and_one_for_work_is_not(engine: Engine, guards: GuardPool) -> None:
    task = make_task(make_workspace())
    empty = Counting("wvs_dequeue_empty_total")
    guard = guards.acquire(task.workspace_id)
    assert guard is not None
    engine.serve(task.workspace_id)
    guards.release(guard)
    assert empty.grew == 1
    engine.serve(task.workspace_id)
    assert empty.grew == 1
    engine.serve(task.workspace_id)
    assert empty.grew == 2
    later = make_task(make_workspace(), status=Status.FAILED, next_run_at=from_now(60))
    engine.serve(later.workspace_id)
    assert empty.grew == 3


def test_an_attempt_that_failed_is_a_retry_and_the_last_one_is_none(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace(), max_attempts=2)
    retried, dead = Counting("wvs_task_retry_total", op=task.op), ended(task.op, Status.DEAD)
    fake.on_execute.extend([fault(FaultReason.CLONE_FAILED)] * 2)
    engine.serve(task.workspace_id)
    assert (retried.grew, dead.grew) == (1, 0)
    make_due(task)
    engine.serve(task.workspace_id)
    assert (retried.grew, dead.grew) == (1, 1)


def test_what_a_worker_hands_back_at_its_end_is_no_retry(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace())
    retried = Counting("wvs_task_retry_total", op=task.op)
    held = Held(engine, fake, task)
    engine.hand_back_all()
    held.thread.result()
    assert retried.grew == 0


def rescued_by_the_scheduler(engine: Engine, fake: FakeExecutor, scheduler: Scheduler) -> None:
    lost(make_workspace())
    scheduler.beat()


def rescued_by_a_worker(engine: Engine, fake: FakeExecutor, scheduler: Scheduler) -> None:
    engine.serve(lost(make_workspace()).workspace_id)


def taken_from_one_that_hangs(engine: Engine, fake: FakeExecutor, scheduler: Scheduler) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task, Gate(obeys=False))
    Task.objects.filter(pk=task.pk).update(started_at=from_now(-task.timeout_seconds - HUNG_SECONDS - 1))
    scheduler.beat()
    eventually(lambda: not guard_backends(), "the guard to be ended")
    scheduler.beat()
    held.end()


@pytest.mark.parametrize(
    ("rescue", "reason"),
    [
        (rescued_by_the_scheduler, Rescue.WORKER_LOST),
        (rescued_by_a_worker, Rescue.WORKER_LOST),
        (taken_from_one_that_hangs, Rescue.WORKER_HUNG),
    ],
)
def test_a_rescue_is_counted_by_what_became_of_the_worker(
    engine: Engine,
    fake: FakeExecutor,
    scheduler: Scheduler,
    rescue: Callable[[Engine, FakeExecutor, Scheduler], None],
    reason: Rescue,
) -> None:
    rescued = {each: Counting("wvs_task_rescued_total", reason=each) for each in Rescue}
    rescue(engine, fake, scheduler)
    assert {each: counting.grew for each, counting in rescued.items()} == {each: each is reason for each in Rescue}


def transition(old: str, new: str) -> Counting:
    return Counting("wvs_workspace_state_transitions_total", **{"from": str(old), "to": str(new)})


def test_the_transitions_of_workspaces_are_counted_once_they_are_committed(engine: Engine) -> None:
    workspace = make_workspace(state=WorkspaceState.PROVISIONING)
    make_task(workspace, Op.INIT_WORKSPACE)
    activated = transition("PROVISIONING", "ACTIVE")
    engine.serve(workspace.wsid)
    assert activated.grew == 1
    disabled, enabled = transition("ACTIVE", "DISABLED"), transition("DISABLED", "ACTIVE")
    with transaction.atomic():
        disable_workspace(wsid=workspace.wsid, actor=ACTOR, request_id="req-1")
        assert disabled.grew == 0
    enable_workspace(wsid=workspace.wsid, actor=ACTOR)
    assert (disabled.grew, enabled.grew) == (1, 1)


@pytest.fixture
def backlog() -> Callable[[str], float | None]:
    registry = CollectorRegistry()
    show_backlog(registry)
    return registry.get_sample_value


def test_the_queue_is_asked_for_when_it_is_scraped_in_one_statement(
    backlog: Callable[[str], float | None],
) -> None:
    workspace: Workspace = make_workspace()
    make_task(workspace)
    make_task(workspace, status=Status.FAILED, next_run_at=from_now(-1), created_at=from_now(-500))
    make_task(workspace, status=Status.FAILED, next_run_at=from_now(60))
    make_task(make_workspace(), status=Status.RUNNING, created_at=from_now(-900))
    make_task(workspace, status=Status.DEAD)
    make_task(workspace, status=Status.DEAD, ended_at=from_now(-8 * 24 * 3600))
    with CaptureQueriesContext(connection) as asked:
        assert backlog("wvs_task_queue_depth") == 2
    assert len(asked) == 1
    assert backlog("wvs_task_dead") == 1
    assert 500 <= (backlog("wvs_task_oldest_waiting_seconds") or 0) < 540


def test_an_empty_queue_is_nought(backlog: Callable[[str], float | None]) -> None:
    assert (
        backlog("wvs_task_queue_depth") == backlog("wvs_task_oldest_waiting_seconds") == backlog("wvs_task_dead") == 0
    )

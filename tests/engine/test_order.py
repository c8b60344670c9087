"""Within a workspace strictly first in, first out (SPEC §6)."""

from __future__ import annotations

import pytest
from django.db import transaction

from executor.contract import FaultReason
from tasks.engine import TASKS_PER_BELL, Engine
from tasks.models import Op, Task
from tasks.services import cancel_task
from tasks.states import Status
from tests.engine.world import Held, fresh, query, status_of
from tests.factories import ACTOR, from_now, make_due, make_snapshot, make_task, make_workspace
from tests.fakes import FakeExecutor, fault

pytestmark = pytest.mark.rule("SPEC §6")


def test_tasks_run_in_the_order_in_which_they_were_accepted(engine: Engine, fake: FakeExecutor) -> None:
    workspace = make_workspace()
    tasks = [make_task(workspace) for _ in range(5)]
    # Whatever their ids and times say.
    Task.objects.filter(pk=tasks[-1].pk).update(created_at=from_now(-100), next_run_at=from_now(-100))
    engine.serve(workspace.wsid)
    assert [request.task_id for request in fake.executed] == [task.task_id for task in tasks]
    assert [status_of(task) for task in tasks] == [Status.SUCCEEDED] * 5
    fences = [request.fence for request in fake.executed]
    assert fences == sorted(set(fences))


def test_a_later_task_never_overtakes_one_that_waits_for_its_retry(engine: Engine, fake: FakeExecutor) -> None:
    workspace = make_workspace()
    first, second = make_task(workspace), make_task(workspace)
    fake.on_execute.append(fault(FaultReason.CLONE_FAILED))
    engine.serve(workspace.wsid)
    assert status_of(first) is Status.FAILED
    engine.serve(workspace.wsid)
    assert status_of(second) is Status.PENDING
    make_due(first)
    engine.serve(workspace.wsid)
    assert [request.task_id for request in fake.executed] == [first.task_id, first.task_id, second.task_id]


def test_canceling_the_one_that_waits_lets_the_next_through(engine: Engine, fake: FakeExecutor) -> None:
    workspace = make_workspace()
    first, second = make_task(workspace), make_task(workspace)
    fake.on_execute.append(fault(FaultReason.CLONE_FAILED))
    engine.serve(workspace.wsid)
    cancel_task(task_id=first.task_id, actor=ACTOR, request_id="req-1")
    engine.serve(workspace.wsid)
    assert status_of(first) is Status.CANCELED
    assert status_of(second) is Status.SUCCEEDED


def test_a_task_that_is_not_due_is_left_alone(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace(), next_run_at=from_now(3600))
    engine.serve(task.workspace_id)
    assert fake.executed == []
    assert fresh(task).attempt == 0


def test_workspaces_do_not_wait_for_each_other(engine: Engine, fake: FakeExecutor) -> None:
    held = Held(engine, fake, make_task(make_workspace()))
    other = make_task(make_workspace())
    engine.serve(other.workspace_id)
    assert status_of(other) is Status.SUCCEEDED
    held.end()


def test_an_empty_or_unknown_workspace_is_no_work(engine: Engine, fake: FakeExecutor) -> None:
    engine.serve(make_workspace().wsid)
    engine.serve("ws-of-nobody")
    assert fake.executed == []


def test_after_its_share_a_workspace_rings_again_and_lets_others_through(
    engine: Engine, fake: FakeExecutor, bells: list[str]
) -> None:
    workspace = make_workspace()
    tasks = [make_task(workspace) for _ in range(TASKS_PER_BELL + 1)]
    engine.serve(workspace.wsid)
    assert len(fake.executed) == TASKS_PER_BELL
    assert bells == [workspace.wsid]
    engine.serve(workspace.wsid)
    assert status_of(tasks[-1]) is Status.SUCCEEDED
    assert bells == [workspace.wsid]


def test_the_head_is_found_by_an_index_however_many_tasks_wait() -> None:
    workspace = make_workspace()
    make_task(workspace, Op.SET_CURRENT, snapshot=make_snapshot(workspace))
    with transaction.atomic():
        query("SELECT set_config('enable_seqscan', 'off', true)")
        plan = Task.objects.of_workspace(workspace.wsid).live().in_order()[:1].explain()
    assert "tasks_live_by_seq" in plan

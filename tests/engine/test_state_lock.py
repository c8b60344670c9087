"""STATE(wsid), the workspace row: whoever decides waits for it, and decides on what is true then (SPEC §6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection, transaction

from snapshots.services import create_snapshot, drop_snapshot, set_current
from tasks.engine import Engine
from tasks.models import Task
from tasks.services import cancel_task
from tasks.states import Status
from tests.engine.world import Held, query, status_of, workspace_with_snapshot
from tests.factories import ACTOR, make_task, make_workspace, new_token, new_wsid
from tests.fakes import FakeExecutor
from tests.waiting import InThread
from workspaces.models import Workspace
from workspaces.services import create_workspace, disable_workspace
from wvs_project.errors import ErrorCode, WvsError

pytestmark = pytest.mark.rule("SPEC §6")


def _hold(wsid: str) -> None:
    query("SELECT 1 FROM workspaces WHERE wsid = %s FOR NO KEY UPDATE", wsid)


def _blocked_by_us(thread: InThread[object]) -> None:
    assert thread.wait_blocked() == [connection.connection.info.backend_pid]


def test_a_claim_waits_and_sees_what_was_decided_meanwhile(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace())
    with transaction.atomic():
        cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1")
        serving: InThread[object] = InThread(lambda: engine.serve(task.workspace_id))
        _blocked_by_us(serving)
    serving.result()
    assert status_of(task) is Status.CANCELED
    assert fake.executed == []


def test_a_claim_waits_for_it_though_nobody_holds_the_tasks_row(engine: Engine) -> None:
    task = make_task(make_workspace())
    with transaction.atomic():
        _hold(task.workspace_id)
        serving: InThread[object] = InThread(lambda: engine.serve(task.workspace_id))
        _blocked_by_us(serving)
        assert status_of(task) is Status.PENDING
    serving.result()
    assert status_of(task) is Status.SUCCEEDED


def test_apply_waits_for_it(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task)
    with transaction.atomic():
        _hold(task.workspace_id)
        held.gate.open()
        assert held.thread.wait_blocked() == [connection.connection.info.backend_pid]
        assert status_of(task) is Status.RUNNING
    held.thread.result()
    assert status_of(task) is Status.SUCCEEDED


@pytest.mark.rule("G5")
def test_a_long_execution_holds_no_row(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task)
    with transaction.atomic():
        query("SELECT 1 FROM workspaces WHERE wsid = %s FOR UPDATE NOWAIT", task.workspace_id)
        query("SELECT 1 FROM tasks WHERE task_id = %s FOR UPDATE NOWAIT", task.task_id)
    held.end()


@pytest.mark.rule("G21")
def test_a_write_waits_for_a_disable_and_is_refused_after_it() -> None:
    workspace = make_workspace()
    with transaction.atomic():
        disable_workspace(wsid=workspace.wsid, actor=ACTOR, request_id="req-1")
        creating: InThread[object] = InThread(
            lambda: create_snapshot(wsid=workspace.wsid, message="", token=new_token(), actor=ACTOR)
        )
        _blocked_by_us(creating)
    refused = creating.outcome()
    assert isinstance(refused, WvsError)
    assert refused.code is ErrorCode.GONE
    assert not Task.objects.exists()


@pytest.mark.rule("G21")
def test_a_disable_waits_for_a_write_and_is_refused_after_it() -> None:
    workspace = make_workspace()
    with transaction.atomic():
        create_snapshot(wsid=workspace.wsid, message="", token=new_token(), actor=ACTOR)
        disabling: InThread[object] = InThread(
            lambda: disable_workspace(wsid=workspace.wsid, actor=ACTOR, request_id="req-1")
        )
        _blocked_by_us(disabling)
    refused = disabling.outcome()
    assert isinstance(refused, WvsError)
    assert refused.code is ErrorCode.PRECONDITION_FAILED


@pytest.mark.rule("SPEC §4")
@pytest.mark.parametrize("write", ["snapshot", "drop", "set_current", "cancel", "disable"])
def test_a_write_that_does_not_get_it_in_time_is_refused_as_locked(write: str) -> None:
    workspace, snapshot = workspace_with_snapshot()
    task = make_task(workspace)
    wsid, snapshot_id = workspace.wsid, snapshot.snapshot_id
    writes: dict[str, Callable[[], object]] = {
        "snapshot": lambda: create_snapshot(wsid=wsid, message="", token=new_token(), actor=ACTOR),
        "drop": lambda: drop_snapshot(wsid=wsid, snapshot_id=snapshot_id, token=new_token(), actor=ACTOR),
        "set_current": lambda: set_current(
            wsid=wsid, snapshot_id=snapshot_id, fresh=False, token=new_token(), actor=ACTOR
        ),
        "cancel": lambda: cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1"),
        "disable": lambda: disable_workspace(wsid=wsid, actor=ACTOR, request_id="req-1"),
    }
    with transaction.atomic():
        _hold(wsid)
        refused = InThread(writes[write]).outcome()
    assert isinstance(refused, WvsError)
    assert (refused.code, refused.retry_after) == (ErrorCode.CONFLICT_LOCKED, 1)
    assert Task.objects.count() == 1


def _create(wsid: str) -> Workspace:
    return create_workspace(wsid=wsid, owner="team-a", token=new_token(), actor=ACTOR).workspace


@pytest.mark.rule("SPEC §4")
def test_of_two_that_create_the_same_workspace_at_once_one_is_told_that_it_exists() -> None:
    wsid = new_wsid()
    with transaction.atomic():
        _create(wsid)
        second: InThread[object] = InThread(lambda: _create(wsid))
        _blocked_by_us(second)
    refused = second.outcome()
    assert isinstance(refused, WvsError)
    assert refused.code is ErrorCode.CONFLICT_EXISTS


@pytest.mark.rule("SPEC §4")
def test_the_second_succeeds_when_the_first_is_rolled_back() -> None:
    wsid = new_wsid()
    with transaction.atomic():
        _create(wsid)
        second: InThread[object] = InThread(lambda: _create(wsid))
        _blocked_by_us(second)
        transaction.set_rollback(True)
    assert isinstance(second.result(), Workspace)
    assert Task.objects.count() == 1


@pytest.mark.rule("SPEC §4")
def test_the_second_is_refused_as_locked_when_the_first_takes_too_long() -> None:
    wsid = new_wsid()
    with transaction.atomic():
        _create(wsid)
        refused = InThread(lambda: _create(wsid)).outcome()
    assert isinstance(refused, WvsError)
    assert refused.code is ErrorCode.CONFLICT_LOCKED

"""A drop: refused while something needs the snapshot; once begun it can only succeed (SPEC §6, P0-01, G7, G8)."""

from __future__ import annotations

import pytest

from executor.contract import FaultReason
from snapshots.models import Snapshot
from snapshots.services import drop_snapshot, set_current
from tasks.engine import Engine
from tasks.models import Op, Task
from tasks.states import Status
from tests.engine.world import Held, fresh, lost, status_of, unknown, workspace_with_snapshot
from tests.factories import ACTOR, make_current, make_due, make_snapshot, make_task, make_workspace, new_token
from tests.fakes import FakeExecutor, Gate, Step, fault, nothing
from wvs_project.errors import ErrorCode, WvsError


def _drop(snapshot: Snapshot, wsid: str | None = None) -> Task:
    accepted = drop_snapshot(
        wsid=wsid or snapshot.workspace_id, snapshot_id=snapshot.snapshot_id, token=new_token(), actor=ACTOR
    )
    return accepted.task


def _switch(snapshot: Snapshot, wsid: str | None = None) -> Task:
    wsid = wsid or snapshot.workspace_id
    accepted = set_current(wsid=wsid, snapshot_id=snapshot.snapshot_id, fresh=False, token=new_token(), actor=ACTOR)
    return accepted.task


def _marked(snapshot: Snapshot) -> bool:
    return Snapshot.objects.filter(pk=snapshot.pk, deleted_at__isnull=False).exists()


@pytest.mark.rule("P0-01")
def test_the_snapshot_is_marked_before_the_executor_is_asked_and_by_this_task(
    engine: Engine, fake: FakeExecutor
) -> None:
    _, snapshot = workspace_with_snapshot()
    task = _drop(snapshot)
    assert not _marked(snapshot)
    held = Held(engine, fake, task)
    assert _marked(snapshot)
    held.end()
    assert status_of(task) is Status.SUCCEEDED
    snapshot.refresh_from_db()
    assert snapshot.deleted_by == task.task_id


@pytest.mark.rule("G7")
@pytest.mark.parametrize("op", [Op.SET_CURRENT])
@pytest.mark.parametrize("attempt", [1, 5])
def test_a_drop_is_refused_while_a_running_task_needs_the_snapshot_on_its_last_attempt_too(
    op: Op, attempt: int
) -> None:
    workspace, snapshot = workspace_with_snapshot()
    user = make_task(workspace, op, snapshot=snapshot, status=Status.RUNNING, attempt=attempt)
    with pytest.raises(WvsError) as refused:
        _drop(snapshot)
    assert refused.value.code is ErrorCode.CONFLICT_SNAPSHOT_IN_USE
    assert refused.value.details["blockers"] == [{"task_id": user.task_id, "op": op.value, "status": "RUNNING"}]


@pytest.mark.rule("G8")
def test_the_drop_of_the_current_snapshot_is_refused() -> None:
    workspace, snapshot = workspace_with_snapshot()
    make_current(workspace, snapshot)
    with pytest.raises(WvsError) as refused:
        _drop(snapshot)
    assert refused.value.code is ErrorCode.CONFLICT_SNAPSHOT_IN_USE
    assert refused.value.details["blockers"] == [
        {"current_snapshot_id": snapshot.snapshot_id, "current_path": workspace.current_path}
    ]


@pytest.mark.rule("G8")
def test_a_worker_refuses_a_drop_whose_snapshot_became_current_meanwhile(engine: Engine, fake: FakeExecutor) -> None:
    workspace, snapshot = workspace_with_snapshot()
    task = make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)
    make_current(workspace, snapshot)
    engine.serve(workspace.wsid)
    row = fresh(task)
    assert row.state is Status.DEAD
    assert row.error is not None
    assert (row.error["code"], row.error["reason"]) == ("WVS_CONFLICT_SNAPSHOT_IN_USE", "SNAPSHOT_IN_USE")
    assert not _marked(snapshot)
    assert fake.executed == []


@pytest.mark.rule("P0-01")
def test_a_worker_refuses_a_drop_that_a_later_set_current_needs(engine: Engine, fake: FakeExecutor) -> None:
    workspace, snapshot = workspace_with_snapshot()
    drop = make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)
    switch = make_task(workspace, Op.SET_CURRENT, snapshot=snapshot)
    engine.serve(workspace.wsid)
    assert (status_of(drop), status_of(switch)) == (Status.DEAD, Status.SUCCEEDED)
    assert [request.op for request in fake.executed] == ["set_current"]


@pytest.mark.rule("P0-01")
def test_a_set_current_is_refused_while_a_drop_waits(engine: Engine) -> None:
    _, snapshot = workspace_with_snapshot()
    drop = _drop(snapshot)
    with pytest.raises(WvsError) as refused:
        _switch(snapshot)
    assert refused.value.code is ErrorCode.CONFLICT_SNAPSHOT_IN_USE
    assert refused.value.details["blockers"] == [{"task_id": drop.task_id, "op": "snapshot_drop", "status": "PENDING"}]


@pytest.mark.rule("G6")
def test_another_workspaces_snapshot_is_not_found_and_nothing_changes() -> None:
    other = make_workspace()
    _, snapshot = workspace_with_snapshot()
    with pytest.raises(WvsError) as drop_refused:
        _drop(snapshot, wsid=other.wsid)
    with pytest.raises(WvsError) as switch_refused:
        _switch(snapshot, wsid=other.wsid)
    assert (drop_refused.value.code, switch_refused.value.code) == (ErrorCode.NOT_FOUND, ErrorCode.NOT_FOUND)
    assert not Task.objects.exists()


@pytest.mark.rule("SPEC §6")
@pytest.mark.parametrize(
    "step",
    [
        fault(FaultReason.CLONE_FAILED),
        fault(FaultReason.UNSAFE_PATH),
        fault(FaultReason.TIMED_OUT, unknown=True),
        fault(FaultReason.FENCED),
    ],
)
def test_a_directory_that_cannot_be_deleted_is_a_warning(engine: Engine, fake: FakeExecutor, step: Step) -> None:
    workspace, snapshot = workspace_with_snapshot()
    task = make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)
    fake.on_execute.append(step)
    engine.serve(workspace.wsid)
    row = fresh(task)
    assert row.state is Status.SUCCEEDED
    assert row.result is not None
    assert len(row.result["warnings"]) == 1
    assert _marked(snapshot)


@pytest.mark.rule("G13")
def test_a_drop_that_takes_too_long_succeeds_with_a_warning(engine: Engine, fake: FakeExecutor) -> None:
    workspace, snapshot = workspace_with_snapshot()
    task = make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot, timeout_seconds=1)
    fake.on_execute.append(Gate())
    engine.serve(workspace.wsid)
    row = fresh(task)
    assert row.state is Status.SUCCEEDED
    assert row.result is not None
    assert "TIMED_OUT" in row.result["warnings"][0]


@pytest.mark.rule("SPEC §6")
@pytest.mark.parametrize("step", [nothing, fault(FaultReason.CLONE_FAILED)])
def test_a_drop_whose_worker_was_lost_is_deleted_by_the_next_attempt(
    engine: Engine, fake: FakeExecutor, step: Step
) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    task = lost(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)
    snapshot.mark_dropped(task.task_id)
    fake.on_execute.append(step)
    engine.serve(workspace.wsid)
    assert status_of(task) is Status.FAILED
    make_due(task)
    engine.serve(workspace.wsid)
    row = fresh(task)
    assert (row.state, row.attempt, len(fake.executed)) == (Status.SUCCEEDED, 2, 1)


@pytest.mark.rule("SPEC §6")
def test_a_drop_that_is_lost_on_its_last_attempt_succeeds_with_a_warning(engine: Engine, fake: FakeExecutor) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    task = unknown(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot, attempt=5)
    snapshot.mark_dropped(task.task_id)
    engine.serve(workspace.wsid)
    row = fresh(task)
    assert row.state is Status.SUCCEEDED
    assert row.result is not None
    assert "WORKER_LOST" in row.result["warnings"][0]
    assert fake.executed == []


@pytest.mark.rule("SPEC §6")
def test_a_drop_never_takes_a_snapshot_that_another_task_has_dropped(engine: Engine, fake: FakeExecutor) -> None:
    workspace, snapshot = workspace_with_snapshot()
    first = make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot, status=Status.RUNNING)
    snapshot.mark_dropped("task-of-somebody-else")
    Task.objects.filter(pk=first.pk).update(status=Status.FAILED)
    engine.serve(workspace.wsid)
    row = fresh(first)
    assert row.state is Status.DEAD
    assert fake.executed == []

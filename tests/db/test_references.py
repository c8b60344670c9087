"""While one row is so, another must be so: the composite foreign keys of SPEC §5, past every service."""

from __future__ import annotations

import pytest
from django.db import transaction

from snapshots.models import Snapshot
from tasks.models import Op, Task
from tasks.services import submit_task
from tasks.states import FINISHED, LIVE, Status
from tests.db.refusal import refused_by, sql
from tests.factories import ACTOR, make_current, make_snapshot, make_task, make_workspace, new_token, next_fence
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode, WvsError
from wvs_project.ids import new_snapshot_id, new_task_id

pytestmark = pytest.mark.django_db

REFERENCE = "tasks_ref_snapshot_is_live"
POINTER = "workspaces_current_snapshot_is_live"


def _drop(snapshot: Snapshot) -> None:
    sql(
        "UPDATE snapshots SET deleted_at = clock_timestamp(), deleted_by = %s WHERE snapshot_id = %s",
        new_task_id(),
        snapshot.snapshot_id,
    )


@pytest.mark.rule("G8")
def test_a_current_snapshot_cannot_be_marked_dropped() -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    assert refused_by(lambda: _drop(snapshot)) == POINTER


@pytest.mark.rule("G8")
def test_a_current_snapshot_cannot_be_deleted_as_a_row() -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    assert refused_by(lambda: sql("DELETE FROM snapshots WHERE snapshot_id = %s", snapshot.snapshot_id)) == POINTER


@pytest.mark.rule("SPEC §5")
def test_the_pointer_cannot_name_a_dropped_snapshot() -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace, dropped=True)
    assert refused_by(lambda: make_current(workspace, snapshot)) == POINTER


@pytest.mark.rule("G6")
def test_the_pointer_cannot_name_another_workspaces_snapshot() -> None:
    workspace, other = make_workspace(), make_workspace()
    snapshot = make_snapshot(other)
    assert refused_by(lambda: make_current(workspace, snapshot)) == POINTER


@pytest.mark.rule("SPEC §5")
def test_the_pointer_cannot_name_a_snapshot_that_never_was() -> None:
    workspace = make_workspace()
    gone = Snapshot(snapshot_id=new_snapshot_id(), workspace=workspace)
    assert refused_by(lambda: make_current(workspace, gone)) == POINTER


@pytest.mark.rule("P0-01")
@pytest.mark.parametrize("status", LIVE)
def test_a_snapshot_that_a_live_set_current_names_cannot_be_marked_dropped(status: Status) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_task(workspace, Op.SET_CURRENT, snapshot=snapshot, status=status)
    assert refused_by(lambda: _drop(snapshot)) == REFERENCE


@pytest.mark.rule("G7")
def test_a_set_current_that_runs_on_its_last_attempt_still_holds_its_snapshot() -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_task(workspace, Op.SET_CURRENT, snapshot=snapshot, status=Status.RUNNING, attempt=5, max_attempts=5)
    assert refused_by(lambda: _drop(snapshot)) == REFERENCE


@pytest.mark.parametrize("status", FINISHED)
def test_a_finished_set_current_holds_nothing(status: Status) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_task(workspace, Op.SET_CURRENT, snapshot=snapshot, status=status)
    _drop(snapshot)
    assert not Snapshot.objects.kept().exists()


@pytest.mark.rule("P0-01")
@pytest.mark.parametrize("op", [Op.SET_CURRENT, Op.SNAPSHOT_DROP])
def test_no_new_task_can_name_a_dropped_snapshot(op: Op) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace, dropped=True)
    assert refused_by(lambda: make_task(workspace, op, snapshot=snapshot)) == REFERENCE


@pytest.mark.rule("G6")
@pytest.mark.parametrize("op", [Op.SET_CURRENT, Op.SNAPSHOT_DROP])
def test_no_new_task_can_name_another_workspaces_snapshot(op: Op) -> None:
    workspace, other = make_workspace(), make_workspace()
    snapshot = make_snapshot(other)
    assert refused_by(lambda: make_task(workspace, op, snapshot=snapshot)) == REFERENCE


@pytest.mark.rule("P0-01")
def test_a_live_set_current_cannot_be_turned_to_a_dropped_snapshot() -> None:
    workspace = make_workspace()
    kept, dropped = make_snapshot(workspace), make_snapshot(workspace, dropped=True)
    task = make_task(workspace, Op.SET_CURRENT, snapshot=kept)
    params = {"snapshot_id": dropped.snapshot_id}
    assert refused_by(lambda: Task.objects.filter(pk=task.pk).update(params=params)) == REFERENCE


@pytest.mark.rule("SPEC §6")
def test_a_drop_is_claimed_and_marks_its_snapshot_in_one_transaction() -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    drop = make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)
    assert refused_by(lambda: _drop(snapshot)) == REFERENCE
    drop.move(Status.RUNNING, fence=next_fence(), started_at=drop.created_at)
    _drop(snapshot)


@pytest.mark.parametrize("status", FINISHED)
def test_a_second_drop_may_follow_one_that_is_finished(status: Status) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot, status=status)
    make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)


@pytest.mark.rule("G21")
@pytest.mark.parametrize("status", LIVE)
def test_a_workspace_with_a_live_task_cannot_be_disabled(status: Status) -> None:
    workspace = make_workspace()
    make_task(workspace, status=status)
    assert refused_by(workspace.disable) == "tasks_live_in_enabled_workspace"


@pytest.mark.rule("G21")
@pytest.mark.parametrize("status", FINISHED)
def test_a_workspace_with_finished_tasks_only_can_be_disabled(status: Status) -> None:
    workspace = make_workspace()
    make_task(workspace, status=status)
    workspace.disable()
    workspace.enable()
    assert workspace.state == "ACTIVE"


@pytest.mark.rule("SPEC §5")
@pytest.mark.parametrize("status", [Status.PENDING, Status.FAILED])
def test_a_second_task_cannot_begin_to_run_beside_the_first(status: Status) -> None:
    workspace = make_workspace()
    make_task(workspace, status=Status.RUNNING)
    second = make_task(workspace, status=status)
    refused = refused_by(
        lambda: second.move(Status.RUNNING, fence=next_fence(), started_at=second.created_at, attempt=2)
    )
    assert refused == "tasks_one_running_per_workspace"


@pytest.mark.parametrize("op", [Op.SNAPSHOT_CREATE, Op.SNAPSHOT_DROP, Op.SET_CURRENT])
@pytest.mark.parametrize("params", [{}, {"snapshot_id": None}, {"snapshot_id": ""}, {"snapshot_id": "../x"}])
def test_a_task_about_a_snapshot_names_one(op: Op, params: dict[str, object]) -> None:
    task = make_task(make_workspace(), Op.INIT_WORKSPACE)
    refused = refused_by(lambda: Task.objects.filter(pk=task.pk).update(op=op, params=params))
    assert refused == "tasks_snapshot_op_names_one"


@pytest.mark.parametrize("op", [Op.SET_CURRENT, Op.SNAPSHOT_DROP])
def test_a_caller_that_forgot_to_look_is_refused_in_the_words_of_the_api(op: Op) -> None:
    theirs = make_snapshot(make_workspace())
    mine = make_workspace()

    with pytest.raises(WvsError) as refused, transaction.atomic():
        submit_task(wsid=mine.wsid, op=op, params={"snapshot_id": theirs.pk}, token=new_token(), actor=ACTOR)

    assert refused.value.code is ErrorCode.NOT_FOUND
    assert refused.value.details["blockers"] == [{"constraint": "tasks_ref_snapshot_is_live"}]


def test_a_task_for_a_disabled_workspace_is_gone_even_for_a_caller_that_forgot_to_look() -> None:
    disabled = make_workspace(state=WorkspaceState.DISABLED)

    with pytest.raises(WvsError) as refused, transaction.atomic():
        submit_task(wsid=disabled.wsid, op=Op.INIT_WORKSPACE, params={}, token=new_token(), actor=ACTOR)

    assert refused.value.code is ErrorCode.GONE

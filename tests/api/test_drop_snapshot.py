"""DELETE …/snapshots/{snapshot_id}."""

from __future__ import annotations

import pytest

from tasks.models import Op, Task
from tasks.states import FINISHED, LIVE, Status
from tests.api.client import Api
from tests.factories import make_current, make_snapshot, make_task, make_workspace
from wvs_project.errors import ErrorCode
from wvs_project.ids import new_snapshot_id

pytestmark = pytest.mark.django_db


def path_of(wsid: str, snapshot_id: str) -> str:
    return f"/v1/workspaces/{wsid}/snapshots/{snapshot_id}"


def test_a_snapshot_is_dropped_by_a_task(api: Api) -> None:
    snapshot = make_snapshot(make_workspace())
    body = api.delete(path_of(snapshot.workspace_id, snapshot.snapshot_id)).accepted()
    task = Task.objects.get(workspace_id=snapshot.workspace_id)
    assert body == {"task_id": task.task_id, "status": "PENDING"}
    assert (task.op, task.snapshot_id) == (Op.SNAPSHOT_DROP, snapshot.snapshot_id)


@pytest.mark.rule("G8")
def test_the_current_snapshot_is_not_dropped(api: Api) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    answer = api.delete(path_of(workspace.wsid, snapshot.snapshot_id))
    blockers = answer.refused(ErrorCode.CONFLICT_SNAPSHOT_IN_USE)["blockers"]
    assert blockers == [{"current_snapshot_id": snapshot.snapshot_id, "current_path": workspace.current_path}]
    assert "Retry-After" not in answer.headers
    assert not Task.objects.exists()


@pytest.mark.rule("G7")
@pytest.mark.parametrize("status", LIVE)
@pytest.mark.parametrize("attempt", [1, 5])
def test_a_live_switch_to_it_stands_in_the_way_on_its_last_attempt_too(api: Api, status: Status, attempt: int) -> None:
    snapshot = make_snapshot(make_workspace())
    fields = {} if status is Status.PENDING else {"attempt": attempt}
    task = make_task(snapshot.workspace, Op.SET_CURRENT, status=status, snapshot=snapshot, **fields)
    answer = api.delete(path_of(snapshot.workspace_id, snapshot.snapshot_id))
    blockers = answer.refused(ErrorCode.CONFLICT_SNAPSHOT_IN_USE)["blockers"]
    assert blockers == [{"task_id": task.task_id, "op": "set_current", "status": status.value}]
    assert answer.headers["Retry-After"] == "1"


def test_a_second_drop_names_the_first(api: Api) -> None:
    snapshot = make_snapshot(make_workspace())
    path = path_of(snapshot.workspace_id, snapshot.snapshot_id)
    first = api.delete(path).accepted()
    blockers = api.delete(path).refused(ErrorCode.CONFLICT_SNAPSHOT_IN_USE)["blockers"]
    assert [blocker["task_id"] for blocker in blockers] == [first["task_id"]]


@pytest.mark.parametrize("status", FINISHED)
def test_a_finished_switch_is_no_obstacle(api: Api, status: Status) -> None:
    snapshot = make_snapshot(make_workspace())
    make_task(snapshot.workspace, Op.SET_CURRENT, status=status, snapshot=snapshot)
    api.delete(path_of(snapshot.workspace_id, snapshot.snapshot_id)).accepted()


@pytest.mark.rule("G6")
def test_another_workspaces_snapshot_is_not_found_and_nothing_changes(api: Api) -> None:
    theirs, mine = make_snapshot(make_workspace()), make_workspace()
    api.delete(path_of(mine.wsid, theirs.snapshot_id)).refused(ErrorCode.NOT_FOUND)
    assert not Task.objects.exists()
    theirs.refresh_from_db()
    assert theirs.deleted_at is None


def test_what_is_dropped_or_never_was_is_not_found(api: Api) -> None:
    dropped = make_snapshot(make_workspace(), dropped=True)
    api.delete(path_of(dropped.workspace_id, dropped.snapshot_id)).refused(ErrorCode.NOT_FOUND)
    api.delete(path_of(dropped.workspace_id, new_snapshot_id())).refused(ErrorCode.NOT_FOUND)
    for not_an_id in ("snap-1", "", "..", dropped.snapshot_id.upper()):
        api.delete(path_of(dropped.workspace_id, not_an_id)).refused(ErrorCode.NOT_FOUND)

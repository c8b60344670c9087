"""POST …/current:set."""

from __future__ import annotations

import pytest

from tasks.models import Op, Task
from tasks.states import Status
from tests.api.client import Api
from tests.factories import make_current, make_snapshot, make_task, make_workspace
from workspaces.models import Workspace
from wvs_project.errors import ErrorCode
from wvs_project.ids import new_snapshot_id

pytestmark = pytest.mark.django_db


def path_of(wsid: str) -> str:
    return f"/v1/workspaces/{wsid}/current:set"


@pytest.mark.parametrize(("body", "fresh"), [({}, False), ({"fresh": False}, False), ({"fresh": True}, True)])
def test_a_switch_is_made_by_a_task(api: Api, body: dict[str, object], fresh: bool) -> None:
    snapshot = make_snapshot(make_workspace())
    answer = api.post(path_of(snapshot.workspace_id), {"snapshot_id": snapshot.snapshot_id, **body})
    task = Task.objects.get(workspace_id=snapshot.workspace_id)
    assert answer.accepted() == {"task_id": task.task_id, "status": "PENDING"}
    assert task.op == Op.SET_CURRENT
    assert task.params == {"snapshot_id": snapshot.snapshot_id, "fresh": fresh}


def test_to_be_there_already_is_for_the_task_to_find(api: Api) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    api.post(path_of(workspace.wsid), {"snapshot_id": snapshot.snapshot_id}).accepted()


@pytest.mark.rule("G6")
def test_another_workspaces_snapshot_is_not_found_and_nothing_changes(api: Api) -> None:
    theirs, mine = make_snapshot(make_workspace()), make_workspace()
    api.post(path_of(mine.wsid), {"snapshot_id": theirs.snapshot_id}).refused(ErrorCode.NOT_FOUND)
    assert not Task.objects.exists()
    assert Workspace.objects.get(pk=mine.pk).current_path == mine.current_path


def test_a_dropped_snapshot_is_not_found(api: Api) -> None:
    dropped = make_snapshot(make_workspace(), dropped=True)
    body = {"snapshot_id": dropped.snapshot_id}
    api.post(path_of(dropped.workspace_id), body).refused(ErrorCode.NOT_FOUND)
    api.post(path_of(dropped.workspace_id), {"snapshot_id": new_snapshot_id()}).refused(ErrorCode.NOT_FOUND)


@pytest.mark.rule("P0-01")
@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING, Status.FAILED])
def test_a_live_drop_of_it_stands_in_the_way(api: Api, status: Status) -> None:
    snapshot = make_snapshot(make_workspace())
    drop = make_task(snapshot.workspace, Op.SNAPSHOT_DROP, status=status, snapshot=snapshot)
    answer = api.post(path_of(snapshot.workspace_id), {"snapshot_id": snapshot.snapshot_id})
    blockers = answer.refused(ErrorCode.CONFLICT_SNAPSHOT_IN_USE)["blockers"]
    assert blockers == [{"task_id": drop.task_id, "op": "snapshot_drop", "status": status.value}]


@pytest.mark.parametrize("snapshot_id", ["", "snap-1", "../initial", 5, None, ["x"]])
def test_an_id_that_is_none_is_refused(api: Api, snapshot_id: object) -> None:
    workspace = make_workspace()
    refused = api.post(path_of(workspace.wsid), {"snapshot_id": snapshot_id}).refused(ErrorCode.BAD_REQUEST)
    assert list(refused["fields"]) == ["snapshot_id"]


@pytest.mark.parametrize("fresh", ["true", 1, 0, None, "on", []])
def test_fresh_is_true_or_false_and_nothing_like_them(api: Api, fresh: object) -> None:
    snapshot = make_snapshot(make_workspace())
    body = {"snapshot_id": snapshot.snapshot_id, "fresh": fresh}
    assert list(api.post(path_of(snapshot.workspace_id), body).refused(ErrorCode.BAD_REQUEST)["fields"]) == ["fresh"]


def test_the_snapshot_must_be_named(api: Api) -> None:
    workspace = make_workspace()
    assert list(api.post(path_of(workspace.wsid)).refused(ErrorCode.BAD_REQUEST)["fields"]) == ["snapshot_id"]

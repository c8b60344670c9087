"""DELETE /v1/workspaces/{wsid}, alone and against what races it."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from tasks.models import AuditEvent, Op, Task
from tasks.states import FINISHED, LIVE, Status
from tests.api.client import Answer, Api
from tests.factories import make_task, make_workspace, new_wsid
from tests.waiting import LIMIT, InThread
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("state", [WorkspaceState.ACTIVE, WorkspaceState.PROVISIONING, WorkspaceState.INIT_FAILED])
def test_a_workspace_is_disabled_at_once_and_remembers_its_state(api: Api, state: WorkspaceState) -> None:
    workspace = make_workspace(state=state)
    body = api.delete(f"/v1/workspaces/{workspace.wsid}", key=None).found()
    row = Workspace.objects.get(pk=workspace.pk)
    assert (row.state, row.state_before_disable) == (WorkspaceState.DISABLED, state)
    assert body == {
        "wsid": workspace.wsid,
        "state": "DISABLED",
        "updated_at": row.updated_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


def test_a_repeat_says_the_same_and_writes_nothing(api: Api) -> None:
    workspace = make_workspace()
    first = api.delete(f"/v1/workspaces/{workspace.wsid}", key=None).found()
    assert api.delete(f"/v1/workspaces/{workspace.wsid}", key=None).found() == first
    assert AuditEvent.objects.filter(action="workspace.disable").count() == 1


@pytest.mark.parametrize("status", LIVE)
def test_a_live_task_stands_in_the_way_and_is_named(api: Api, status: Status) -> None:
    task = make_task(make_workspace(), status=status)
    answer = api.delete(f"/v1/workspaces/{task.workspace_id}", key=None)
    blockers = answer.refused(ErrorCode.PRECONDITION_FAILED)["blockers"]
    assert blockers == [{"task_id": task.task_id, "op": task.op, "status": status.value}]
    assert answer.headers["Retry-After"] == "1"
    assert Workspace.objects.get(pk=task.workspace_id).state == WorkspaceState.ACTIVE


@pytest.mark.rule("G7")
def test_a_task_on_its_last_attempt_is_as_live_as_any(api: Api) -> None:
    task = make_task(make_workspace(), status=Status.RUNNING, attempt=5)
    api.delete(f"/v1/workspaces/{task.workspace_id}", key=None).refused(ErrorCode.PRECONDITION_FAILED)


@pytest.mark.parametrize("status", FINISHED)
def test_finished_tasks_are_no_obstacle(api: Api, status: Status) -> None:
    task = make_task(make_workspace(), Op.INIT_WORKSPACE, status=status)
    api.delete(f"/v1/workspaces/{task.workspace_id}", key=None).found()


def test_there_must_be_a_workspace(api: Api) -> None:
    api.delete(f"/v1/workspaces/{new_wsid()}", key=None).refused(ErrorCode.NOT_FOUND)


def test_it_takes_no_fields(api: Api) -> None:
    workspace = make_workspace()
    api.delete(f"/v1/workspaces/{workspace.wsid}", {"force": True}, key=None).refused(ErrorCode.BAD_REQUEST)
    api.delete(f"/v1/workspaces/{workspace.wsid}", {}, key=None).found()


@pytest.mark.rule("G21")
@pytest.mark.django_db(transaction=True)
def test_disable_and_a_new_snapshot_never_both_win() -> None:
    pairs = 25
    workspaces = [make_workspace().wsid for _ in range(pairs)]
    barrier = threading.Barrier(2)

    def race(write: str) -> list[Answer]:
        api, answers = Api(), []
        for wsid in workspaces:
            barrier.wait(LIMIT)
            path = f"/v1/workspaces/{wsid}"
            answers.append(api.delete(path) if write == "disable" else api.post(f"{path}/snapshots"))
        return answers

    disabling, creating = (InThread(partial(race, write)) for write in ("disable", "create"))
    outcomes = {
        (disabled.status, created.status)
        for disabled, created in zip(disabling.result(), creating.result(), strict=True)
    }
    assert outcomes <= {(200, 410), (412, 202)}
    disabled = Workspace.objects.filter(state=WorkspaceState.DISABLED).values("pk")
    assert not Task.objects.live().filter(workspace_id__in=disabled).exists()

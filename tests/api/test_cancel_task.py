"""POST /v1/tasks/{task_id}:cancel, from every state."""

from __future__ import annotations

import pytest

from tasks.models import AuditEvent, Op, Task
from tasks.states import FINISHED, Status
from tests.api.client import Api
from tests.factories import make_snapshot, make_task, make_workspace
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode
from wvs_project.ids import new_task_id

pytestmark = pytest.mark.django_db


def cancel(api: Api, task: Task, **kwargs: object) -> object:
    return api.post(f"/v1/tasks/{task.task_id}:cancel", key=None).found()


@pytest.mark.rule("P1-02")
@pytest.mark.parametrize("status", [Status.PENDING, Status.FAILED])
def test_what_does_not_run_is_canceled_at_once(api: Api, status: Status) -> None:
    task = make_task(make_workspace(), status=status)
    assert cancel(api, task) == {"task_id": task.task_id, "status": "CANCELED", "cancel_requested": True}
    row = Task.objects.get(pk=task.pk)
    assert row.status == Status.CANCELED
    assert row.ended_at is not None


@pytest.mark.rule("P1-02")
@pytest.mark.parametrize(("status", "unknown"), [(Status.RUNNING, False), (Status.FAILED, True)])
def test_what_may_have_happened_is_asked_to_stop(api: Api, status: Status, unknown: bool) -> None:
    task = make_task(make_workspace(), status=status, outcome_unknown=unknown)
    said = {"task_id": task.task_id, "status": status.value, "cancel_requested": True}
    assert cancel(api, task) == said
    assert cancel(api, task) == said
    assert Task.objects.get(pk=task.pk).cancel_requested


@pytest.mark.rule("P1-02")
@pytest.mark.parametrize("status", FINISHED)
def test_what_is_finished_stays_as_it_is(api: Api, status: Status) -> None:
    task = make_task(make_workspace(), status=status)
    refused = api.post(f"/v1/tasks/{task.task_id}:cancel", key=None).refused(ErrorCode.CONFLICT_LOCKED)
    assert refused["blockers"] == [{"task_id": task.task_id, "op": task.op, "status": status.value}]
    assert Task.objects.get(pk=task.pk).status == status


def test_a_canceled_init_leaves_a_way_out(api: Api) -> None:
    workspace = make_workspace(state=WorkspaceState.PROVISIONING)
    cancel(api, make_task(workspace, Op.INIT_WORKSPACE))
    assert Workspace.objects.get(pk=workspace.pk).state == WorkspaceState.INIT_FAILED
    api.post(f"/v1/workspaces/{workspace.wsid}/retry-init").accepted()


def test_a_canceled_switch_frees_its_snapshot(api: Api) -> None:
    snapshot = make_snapshot(make_workspace())
    cancel(api, make_task(snapshot.workspace, Op.SET_CURRENT, snapshot=snapshot))
    api.delete(f"/v1/workspaces/{snapshot.workspace_id}/snapshots/{snapshot.snapshot_id}").accepted()


def test_who_canceled_is_in_the_audit_trail(api: Api) -> None:
    task = make_task(make_workspace())
    answer = api.post(f"/v1/tasks/{task.task_id}:cancel", key=None)
    event = AuditEvent.objects.get(task_id=task.task_id, action="task.cancel")
    assert event.request_id == answer.headers["X-Request-Id"]
    assert event.payload["before"] == {"status": "PENDING", "cancel_requested": False}


def test_it_takes_no_fields_and_a_task_that_is_there(api: Api) -> None:
    task = make_task(make_workspace())
    api.post(f"/v1/tasks/{task.task_id}:cancel", {"force": True}).refused(ErrorCode.BAD_REQUEST)
    api.post(f"/v1/tasks/{new_task_id()}:cancel").refused(ErrorCode.NOT_FOUND)
    api.post("/v1/tasks/task-1:cancel").refused(ErrorCode.NOT_FOUND)

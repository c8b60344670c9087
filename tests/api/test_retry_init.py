"""POST /v1/workspaces/{wsid}/retry-init."""

from __future__ import annotations

import pytest

from tasks.models import AuditEvent, Op, Task
from tests.api.client import Api
from tests.factories import make_workspace, new_wsid
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode

pytestmark = pytest.mark.django_db


def test_a_failed_init_is_tried_again(api: Api) -> None:
    workspace = make_workspace(state=WorkspaceState.INIT_FAILED)
    answer = api.post(f"/v1/workspaces/{workspace.wsid}/retry-init")
    task = Task.objects.get(workspace=workspace)
    assert answer.accepted() == {"task_id": task.task_id, "status": "PENDING"}
    assert task.op == Op.INIT_WORKSPACE
    assert Workspace.objects.get(pk=workspace.pk).state == WorkspaceState.PROVISIONING
    assert AuditEvent.objects.get(task_id=task.task_id).action == "workspace.retry_init"


@pytest.mark.parametrize("state", [WorkspaceState.ACTIVE, WorkspaceState.PROVISIONING])
def test_only_a_failed_init_can_be_tried_again(api: Api, state: WorkspaceState) -> None:
    workspace = make_workspace(state=state)
    refused = api.post(f"/v1/workspaces/{workspace.wsid}/retry-init").refused(ErrorCode.PRECONDITION_FAILED)
    assert refused["blockers"] == [{"wsid": workspace.wsid, "state": state.value}]
    assert not Task.objects.exists()


def test_there_must_be_a_workspace(api: Api) -> None:
    api.post(f"/v1/workspaces/{new_wsid()}/retry-init").refused(ErrorCode.NOT_FOUND)

"""POST /v1/workspaces/{wsid}/snapshots."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks.models import Op, Task
from tests.api.client import Api
from tests.factories import make_task, make_workspace, new_wsid
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode

pytestmark = pytest.mark.django_db


def test_a_snapshot_is_made_by_a_task_and_its_id_is_known_at_once(api: Api) -> None:
    workspace = make_workspace()
    body = api.post(f"/v1/workspaces/{workspace.wsid}/snapshots", {"message": "before the refactoring"}).accepted()
    task = Task.objects.get(workspace=workspace)
    assert body == {"task_id": task.task_id, "status": "PENDING", "snapshot_id": task.snapshot_id}
    assert (task.op, task.params["message"]) == (Op.SNAPSHOT_CREATE, "before the refactoring")


def test_the_message_may_be_left_out_with_the_whole_body(api: Api) -> None:
    workspace = make_workspace()
    path = f"/v1/workspaces/{workspace.wsid}/snapshots"
    api.post(path).accepted()
    api.post(path, {}).accepted()
    assert {task.params["message"] for task in Task.objects.all()} == {""}


@pytest.mark.parametrize("message", ["", " kept as it is \n", "größer 🎉", "x" * 4096, "🎉" * 4096])
def test_a_message_is_kept_to_the_letter(api: Api, message: str) -> None:
    workspace = make_workspace()
    api.post(f"/v1/workspaces/{workspace.wsid}/snapshots", {"message": message}).accepted()
    assert Task.objects.get(workspace=workspace).params["message"] == message


@pytest.mark.parametrize("message", ["x" * 4097, 5, None, True, ["x"], {"text": "x"}])
def test_a_message_that_is_none_is_refused(api: Api, message: object) -> None:
    workspace = make_workspace()
    refused = api.post(f"/v1/workspaces/{workspace.wsid}/snapshots", {"message": message})
    assert list(refused.refused(ErrorCode.BAD_REQUEST)["fields"]) == ["message"]
    assert not Task.objects.exists()


def test_a_workspace_in_the_making_says_which_task_to_wait_for(api: Api) -> None:
    workspace = make_workspace(state=WorkspaceState.PROVISIONING)
    init = make_task(workspace, Op.INIT_WORKSPACE)
    answer = api.post(f"/v1/workspaces/{workspace.wsid}/snapshots")
    blockers = answer.refused(ErrorCode.PRECONDITION_FAILED)["blockers"]
    assert blockers == [
        {"wsid": workspace.wsid, "state": "PROVISIONING"},
        {"task_id": init.task_id, "op": "init_workspace", "status": "PENDING"},
    ]
    assert answer.headers["Retry-After"] == "1"


def test_a_workspace_that_failed_says_how_to_go_on(api: Api) -> None:
    workspace = make_workspace(state=WorkspaceState.INIT_FAILED)
    answer = api.post(f"/v1/workspaces/{workspace.wsid}/snapshots")
    answer.refused(ErrorCode.PRECONDITION_FAILED)
    assert "retry-init" in answer.body["message"]
    assert "Retry-After" not in answer.headers


def test_there_must_be_a_workspace(api: Api) -> None:
    api.post(f"/v1/workspaces/{new_wsid()}/snapshots").refused(ErrorCode.NOT_FOUND)


@pytest.mark.rule("SPEC §4")
def test_it_takes_at_most_eight_statements(api: Api) -> None:
    workspace = make_workspace()
    with CaptureQueriesContext(connection) as queries:
        api.post(f"/v1/workspaces/{workspace.wsid}/snapshots", {"message": "x"}).accepted()
    transaction_control = ("BEGIN", "COMMIT", "SET ", "SAVEPOINT", "RELEASE")
    statements = [q["sql"] for q in queries.captured_queries if not q["sql"].startswith(transaction_control)]
    assert 0 < len(statements) <= 8, statements

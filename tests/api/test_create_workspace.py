"""POST /v1/workspaces."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from tasks.models import AuditEvent, Op, Task
from tasks.states import Status
from tests.api.client import Answer, Api
from tests.factories import make_workspace, new_wsid
from tests.waiting import LIMIT, InThread
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode

pytestmark = pytest.mark.django_db


def test_a_workspace_is_provisioned_by_a_task(api: Api) -> None:
    wsid = new_wsid()
    answer = api.post("/v1/workspaces", {"wsid": wsid, "owner": "team-a"})
    task = Task.objects.get(workspace_id=wsid)
    assert answer.accepted() == {"wsid": wsid, "state": "PROVISIONING", "init_task_id": task.task_id}
    assert answer.headers["Location"] == f"/v1/tasks/{task.task_id}"
    assert (task.op, task.status, task.request_id) == (
        Op.INIT_WORKSPACE,
        Status.PENDING,
        answer.headers["X-Request-Id"],
    )
    row = Workspace.objects.get(pk=wsid)
    assert (row.owner, row.state, row.root_path, row.current_path) == ("team-a", "PROVISIONING", f"/ws/{wsid}", None)


def test_who_asked_for_it_is_in_the_audit_trail(api: Api) -> None:
    answer = api.post("/v1/workspaces", {"wsid": new_wsid(), "owner": "team-a"})
    event = AuditEvent.objects.get(task_id=answer.accepted()["init_task_id"])
    assert (event.action, event.actor) == ("workspace.create", {"type": "anonymous", "id": "anonymous"})
    assert event.request_id == answer.headers["X-Request-Id"]


@pytest.mark.rule("G19")
@pytest.mark.django_db(transaction=True)
def test_a_failure_half_way_leaves_no_half_workspace(api: Api) -> None:
    wsid = new_wsid()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit ADD CONSTRAINT no_more CHECK (false) NOT VALID")
    try:
        answer = api.post("/v1/workspaces", {"wsid": wsid, "owner": "team-a"})
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE audit DROP CONSTRAINT no_more")
    answer.refused(ErrorCode.INTERNAL)
    assert not Workspace.objects.filter(pk=wsid).exists()
    assert not Task.objects.filter(workspace_id=wsid).exists()


@pytest.mark.parametrize("state", list(WorkspaceState))
def test_a_wsid_is_taken_for_ever(api: Api, state: WorkspaceState) -> None:
    workspace = make_workspace(state=state)
    details = api.post("/v1/workspaces", {"wsid": workspace.wsid, "owner": "x"}).refused(ErrorCode.CONFLICT_EXISTS)
    assert details["blockers"] == [{"wsid": workspace.wsid, "state": state.value}]


@pytest.mark.parametrize(
    "wsid", ["", "ab", "-ab", "ab-", "Abc", "a_b", "a/b", "..", "a" * 64, "abc\n", "ab\u0130", 123, None, True, ["abc"]]
)
def test_a_wsid_outside_of_the_pattern_is_refused(api: Api, wsid: object) -> None:
    details = api.post("/v1/workspaces", {"wsid": wsid, "owner": "x"}).refused(ErrorCode.BAD_REQUEST)
    assert list(details["fields"]) == ["wsid"]


@pytest.mark.parametrize("wsid", ["abc", "a-c", "0" * 63])
def test_a_wsid_at_the_edge_of_the_pattern_is_taken(api: Api, wsid: str) -> None:
    api.post("/v1/workspaces", {"wsid": wsid, "owner": "x"}).accepted()


@pytest.mark.parametrize("owner", ["", "x" * 256, "two\nlines", 5, None, {"name": "x"}])
def test_an_owner_is_one_line_of_text(api: Api, owner: object) -> None:
    details = api.post("/v1/workspaces", {"wsid": new_wsid(), "owner": owner}).refused(ErrorCode.BAD_REQUEST)
    assert list(details["fields"]) == ["owner"]


def test_both_fields_are_required_and_no_other_is_known(api: Api) -> None:
    assert set(api.post("/v1/workspaces", {}).refused(ErrorCode.BAD_REQUEST)["fields"]) == {"wsid", "owner"}
    body = {"wsid": new_wsid(), "owner": "x", "state": "ACTIVE", "colour": "red"}
    assert set(api.post("/v1/workspaces", body).refused(ErrorCode.BAD_REQUEST)["fields"]) == {"state", "colour"}
    assert not Workspace.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_six_who_want_the_same_name_at_once_one_gets_it() -> None:
    wsid, barrier = new_wsid(), threading.Barrier(6)

    def ask() -> Answer:
        api = Api()
        barrier.wait(LIMIT)
        return api.post("/v1/workspaces", {"wsid": wsid, "owner": "x"})

    answers = [thread.result() for thread in [InThread(ask) for _ in range(6)]]
    assert sorted(answer.status for answer in answers) == [202] + [409] * 5
    for answer in answers:
        if answer.status == 409:
            answer.refused(ErrorCode.CONFLICT_EXISTS)
    assert Task.objects.count() == 1

"""GET /v1/audit."""

from __future__ import annotations

import pytest

from tasks.models import AuditEvent
from tests.api.client import Api
from tests.factories import make_workspace, new_wsid
from wvs_project.errors import ErrorCode
from wvs_project.ids import new_task_id

pytestmark = pytest.mark.django_db


def test_the_trail_tells_what_was_done_newest_first(api: Api) -> None:
    wsid = new_wsid()
    created = api.post("/v1/workspaces", {"wsid": wsid, "owner": "x"}).accepted()
    api.post(f"/v1/tasks/{created['init_task_id']}:cancel").found()
    api.delete(f"/v1/workspaces/{wsid}").found()
    events = api.get("/v1/audit", {"wsid": wsid}).items
    assert [event["action"] for event in events] == ["workspace.disable", "task.cancel", "workspace.create"]
    assert [event["task_id"] for event in events] == [None, created["init_task_id"], created["init_task_id"]]
    assert events[0]["payload"] == {"before": {"state": "INIT_FAILED"}, "after": {"state": "DISABLED"}, "error": None}
    assert {event["actor"]["type"] for event in events} == {"anonymous"}


def test_it_filters_by_workspace_task_and_action(api: Api) -> None:
    one, other = make_workspace(), make_workspace()
    task = api.post(f"/v1/workspaces/{one.wsid}/snapshots").accepted()["task_id"]
    api.post(f"/v1/workspaces/{other.wsid}/snapshots").accepted()
    api.delete(f"/v1/workspaces/{make_workspace().wsid}").found()

    def count(**query: str) -> int:
        return len(api.get("/v1/audit", query).items)

    assert count() == AuditEvent.objects.count() == 3
    assert (count(wsid=one.wsid), count(task_id=task), count(action="workspace.snapshot_create")) == (1, 1, 2)
    assert count(wsid=other.wsid, task_id=task) == 0
    assert count(task_id=new_task_id()) == 0


@pytest.mark.parametrize("query", ["task_id=5", "wsid=A", "action=drop table", "actor=x", "ts=now"])
def test_a_filter_that_means_nothing_is_refused(api: Api, query: str) -> None:
    api.get("/v1/audit", query).refused(ErrorCode.BAD_REQUEST)


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
def test_nobody_writes_it(api: Api, method: str) -> None:
    api.send(method, "/v1/audit").refused(ErrorCode.BAD_REQUEST, 405)

"""P1-05: what a disabled workspace may do: the whole table of endpoints."""

from __future__ import annotations

import pytest

from tasks.models import Op, Task
from tasks.states import Status
from tests.api.client import Api
from tests.factories import make_current, make_snapshot, make_task, make_workspace
from workspaces.models import Workspace
from wvs_project.errors import ErrorCode

pytestmark = [pytest.mark.django_db, pytest.mark.rule("P1-05")]


@pytest.fixture
def wsid() -> str:
    """A workspace with a past, disabled."""
    workspace = make_workspace("disabled-one")
    kept, current = make_snapshot(workspace, snapshot_id=KEPT), make_snapshot(workspace, snapshot_id=CURRENT)
    make_current(workspace, current)
    make_task(workspace, Op.SET_CURRENT, status=Status.SUCCEEDED, snapshot=kept, task_id=TASK)
    workspace.disable()
    return workspace.wsid


KEPT = "snap-01a20a66-0000-7000-8000-000000000001"
CURRENT = "snap-01a20a66-0000-7000-8000-000000000002"
TASK = "task-01a20a66-0000-7000-8000-000000000003"
W = "/v1/workspaces/disabled-one"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/workspaces",
        "/v1/workspaces?state=DISABLED",
        W,
        f"{W}/snapshots",
        f"{W}/snapshots/{KEPT}",
        f"{W}/current",
        "/v1/tasks?wsid=disabled-one",
        f"/v1/tasks/{TASK}",
        f"/v1/tasks/{TASK}?wait=1",
        "/v1/audit?wsid=disabled-one",
    ],
)
def test_everything_can_still_be_read(api: Api, wsid: str, path: str) -> None:
    path, _, query = path.partition("?")
    api.get(path, query).found()


def test_what_is_read_is_what_it_was(api: Api, wsid: str) -> None:
    assert api.get(W).found()["state"] == "DISABLED"
    assert api.get(f"{W}/current").found()["data"]["current_snapshot_id"] == CURRENT
    assert [item["is_current"] for item in api.get(f"{W}/snapshots").items] == [True, False]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{W}/retry-init", {}),
        ("POST", f"{W}/snapshots", {"message": "x"}),
        ("DELETE", f"{W}/snapshots/{KEPT}", {}),
        ("DELETE", f"{W}/snapshots/{CURRENT}", {}),
        ("DELETE", f"{W}/snapshots/snap-01a20a66-0000-7000-8000-00000000000f", {}),
        ("POST", f"{W}/current:set", {"snapshot_id": KEPT}),
        ("POST", f"{W}/current:set", {"snapshot_id": CURRENT, "fresh": True}),
    ],
)
def test_every_write_is_gone_and_says_why(api: Api, wsid: str, method: str, path: str, body: object) -> None:
    answer = api.post(path, body) if method == "POST" else api.delete(path, body)
    assert answer.refused(ErrorCode.GONE)["blockers"] == [{"wsid": wsid, "state": "DISABLED"}]
    assert "Retry-After" not in answer.headers
    assert Task.objects.count() == 1


def test_its_name_stays_taken(api: Api, wsid: str) -> None:
    api.post("/v1/workspaces", {"wsid": wsid, "owner": "x"}).refused(ErrorCode.CONFLICT_EXISTS)


def test_a_repeated_delete_is_fine(api: Api, wsid: str) -> None:
    assert api.delete(W, key=None).found()["state"] == "DISABLED"


def test_a_cancel_is_answered_as_for_any_finished_task(api: Api, wsid: str) -> None:
    api.post(f"/v1/tasks/{TASK}:cancel", key=None).refused(ErrorCode.CONFLICT_LOCKED)
    assert Workspace.objects.get(pk=wsid).state == "DISABLED"

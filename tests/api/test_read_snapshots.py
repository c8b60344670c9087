"""GET …/snapshots, GET …/snapshots/{snapshot_id} and GET …/current."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.client import Api
from tests.factories import make_current, make_snapshot, make_workspace, new_wsid
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode

pytestmark = pytest.mark.django_db


def test_a_snapshot_is_shown_as_its_row_is(api: Api) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace, message="ünï", entries=7, bytes=2**40)
    body = api.get(f"/v1/workspaces/{workspace.wsid}/snapshots/{snapshot.snapshot_id}").found()
    assert body == {
        "snapshot_id": snapshot.snapshot_id,
        "wsid": workspace.wsid,
        "message": "ünï",
        "fs_path": f"/ws/{workspace.wsid}/snapshots/{snapshot.snapshot_id}",
        "entries": 7,
        "bytes": 2**40,
        "is_current": False,
        "created_at": snapshot.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


def test_the_one_that_the_workspace_was_switched_to_is_current(api: Api) -> None:
    workspace = make_workspace()
    old, new = make_snapshot(workspace), make_snapshot(workspace)
    make_current(workspace, old)
    path = f"/v1/workspaces/{workspace.wsid}/snapshots"
    shown = [(item["snapshot_id"], item["is_current"]) for item in api.get(path).items]
    assert shown == [(new.snapshot_id, False), (old.snapshot_id, True)]
    assert api.get(f"{path}/{old.snapshot_id}").found()["is_current"]


def test_the_dropped_ones_are_not_shown(api: Api) -> None:
    workspace = make_workspace()
    dropped = make_snapshot(workspace, dropped=True)
    path = f"/v1/workspaces/{workspace.wsid}/snapshots"
    assert api.get(path).items == []
    api.get(f"{path}/{dropped.snapshot_id}").refused(ErrorCode.NOT_FOUND)


@pytest.mark.rule("G6")
def test_another_workspaces_snapshot_is_not_there(api: Api) -> None:
    theirs = make_snapshot(make_workspace())
    mine = make_workspace()
    path = f"/v1/workspaces/{mine.wsid}/snapshots"
    assert api.get(path).items == []
    api.get(f"{path}/{theirs.snapshot_id}").refused(ErrorCode.NOT_FOUND)


@pytest.mark.parametrize("tail", ["snapshots", "snapshots/snap-01a20a66-fdbd-77fe-8fd0-adfbec4699fe", "current"])
def test_there_must_be_a_workspace(api: Api, tail: str) -> None:
    api.get(f"/v1/workspaces/{new_wsid()}/{tail}").refused(ErrorCode.NOT_FOUND)


def test_a_list_costs_two_statements_however_long_it_is(api: Api) -> None:
    workspace = make_workspace()
    for _ in range(5):
        make_snapshot(workspace)
    with CaptureQueriesContext(connection) as queries:
        assert len(api.get(f"/v1/workspaces/{workspace.wsid}/snapshots").items) == 5
    assert len(queries) == 2
    assert not any("COUNT(" in query["sql"].upper() for query in queries.captured_queries)


@pytest.mark.rule("P1-01")
def test_current_says_pointer_and_path_together(api: Api) -> None:
    workspace = make_workspace()
    path = f"/v1/workspaces/{workspace.wsid}/current"
    before = api.get(path).found()["data"]
    assert (before["current_snapshot_id"], before["current_path"]) == (None, f"/ws/{workspace.wsid}/live/initial")
    make_current(workspace, make_snapshot(workspace))
    row = Workspace.objects.get(pk=workspace.pk)
    assert api.get(path).found()["data"] == {
        "wsid": workspace.wsid,
        "current_path": row.current_path,
        "current_snapshot_id": row.current_snapshot_id,
        "updated_at": row.updated_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    assert row.current_path != before["current_path"]


def test_a_workspace_in_the_making_has_no_current_path(api: Api) -> None:
    workspace = make_workspace(state=WorkspaceState.PROVISIONING)
    assert api.get(f"/v1/workspaces/{workspace.wsid}/current").found()["data"]["current_path"] is None

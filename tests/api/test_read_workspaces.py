"""GET /v1/workspaces and GET /v1/workspaces/{wsid}."""

from __future__ import annotations

import pytest

from tests.api.client import Api
from tests.factories import make_current, make_snapshot, make_workspace
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode

pytestmark = pytest.mark.django_db


def test_a_workspace_is_shown_as_its_row_is(api: Api) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    body = api.get(f"/v1/workspaces/{workspace.wsid}").found()
    assert body["current_snapshot_id"] == snapshot.snapshot_id
    assert body["current_path"] == workspace.current_path
    assert (body["wsid"], body["owner"], body["state"]) == (workspace.wsid, "team-a", "ACTIVE")
    assert body["root_path"] == f"/ws/{workspace.wsid}"


def test_times_are_utc_with_six_digits_and_z(api: Api) -> None:
    workspace = make_workspace()
    workspace.created_at = workspace.created_at.replace(microsecond=0)
    workspace.save(update_fields=["created_at"])
    said = api.get(f"/v1/workspaces/{workspace.wsid}").found()["created_at"]
    assert said == workspace.created_at.strftime("%Y-%m-%dT%H:%M:%S") + ".000000Z"


@pytest.mark.parametrize("path", ["nobody-has-this", "NOT-A-WSID", "a", "..", "abc%0A"])
def test_what_is_not_there_is_404(api: Api, path: str) -> None:
    api.get(f"/v1/workspaces/{path}").refused(ErrorCode.NOT_FOUND)


def test_the_list_filters_by_state_and_owner(api: Api) -> None:
    mine = make_workspace(owner="me", state=WorkspaceState.ACTIVE)
    gone = make_workspace(owner="me", state=WorkspaceState.DISABLED)
    make_workspace(owner="you")
    assert [item["wsid"] for item in api.get("/v1/workspaces", {"owner": "me"}).items] == [gone.wsid, mine.wsid]
    both = {"owner": "me", "state": "DISABLED"}
    assert [item["wsid"] for item in api.get("/v1/workspaces", both).items] == [gone.wsid]
    assert api.get("/v1/workspaces", {"state": "INIT_FAILED"}).body == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("query", ["state=WRONG", "state=", "owner=", "colour=red", "state=ACTIVE&state=DISABLED"])
def test_a_query_that_means_nothing_is_refused(api: Api, query: str) -> None:
    api.get("/v1/workspaces", query).refused(ErrorCode.BAD_REQUEST)


def test_an_operation_without_parameters_refuses_any(api: Api) -> None:
    workspace = make_workspace()
    details = api.get(f"/v1/workspaces/{workspace.wsid}", "verbose=1").refused(ErrorCode.BAD_REQUEST)
    assert list(details["fields"]) == ["verbose"]

"""Lists: newest first, whole under ties and inserts, and a cursor that belongs to its list."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from tasks.models import AuditEvent, Task
from tests.api.client import Api
from tests.factories import make_snapshot, make_task, make_workspace
from workspaces.models import Workspace
from wvs_project.errors import ErrorCode

pytestmark = pytest.mark.django_db

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)


def event(ts: datetime) -> Any:
    made = AuditEvent.objects.create(wsid="some-ws", actor={"type": "t", "id": "i"}, action="a.b", payload={}, ts=ts)
    return made.event_id


SNAPSHOTS_OF = "the-workspace"


def snapshot(ts: datetime) -> Any:
    workspace = Workspace.objects.filter(pk=SNAPSHOTS_OF).first() or make_workspace(SNAPSHOTS_OF)
    return make_snapshot(workspace, created_at=ts).snapshot_id


LISTS: dict[str, tuple[str, Callable[[datetime], Any]]] = {
    "/v1/tasks": ("task_id", lambda ts: make_task(make_workspace(), created_at=ts).task_id),
    "/v1/workspaces": ("wsid", lambda ts: make_workspace(created_at=ts).wsid),
    "/v1/audit": ("event_id", event),
    f"/v1/workspaces/{SNAPSHOTS_OF}/snapshots": ("snapshot_id", snapshot),
}
every_list = pytest.mark.parametrize("path", list(LISTS))


def pages(api: Api, path: str, limit: int, between: Callable[[], object] = lambda: None) -> list[list[Any]]:
    """The ids of all pages, `between` being called after each."""
    name, found, query = LISTS[path][0], [], {"limit": str(limit)}
    while True:
        body = api.get(path, query).found()
        found.append([item[name] for item in body["items"]])
        between()
        if body["next_cursor"] is None:
            return found
        query["cursor"] = body["next_cursor"]


@every_list
def test_pages_join_to_the_whole_list_though_all_rows_have_the_same_time(api: Api, path: str) -> None:
    with connection.cursor() as cursor:
        # What order ties have must not come from the index that happens to be used.
        cursor.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off")
    made = [LISTS[path][1](MOMENT) for _ in range(7)]
    found = pages(api, path, 3)
    assert [len(page) for page in found] == [3, 3, 1]
    assert [key for page in found for key in page] == sorted(made, reverse=True)


@every_list
def test_rows_that_come_meanwhile_shift_nothing(api: Api, path: str) -> None:
    make = LISTS[path][1]
    made = [make(MOMENT) for _ in range(3)] + [make(MOMENT.replace(year=2025)) for _ in range(3)]
    found = [key for page in pages(api, path, 2, between=lambda: make(MOMENT.replace(year=2027))) for key in page]
    assert found == sorted(made[:3], reverse=True) + sorted(made[3:], reverse=True)


@every_list
def test_a_page_that_ends_with_the_list_says_so(api: Api, path: str) -> None:
    for _ in range(2):
        LISTS[path][1](MOMENT)
    assert [len(page) for page in pages(api, path, 2)] == [2]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.0", "", "x", " 5", "١", "1e1", "99999999999999999999"])
def test_a_bad_limit_is_refused(api: Api, limit: str) -> None:
    assert list(api.get("/v1/tasks", {"limit": limit}).refused(ErrorCode.BAD_REQUEST)["fields"]) == ["limit"]


def test_a_page_has_twenty_items_unless_asked_and_a_hundred_at_most(api: Api) -> None:
    workspace = make_workspace()
    for _ in range(101):
        make_task(workspace)
    assert len(api.get("/v1/tasks").items) == 20
    assert len(api.get("/v1/tasks", {"limit": 100}).items) == 100
    assert Task.objects.count() == 101


def cursor_of(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


SCOPE = "0" * 16
BAD_CURSORS = [
    "",
    "x",
    "%%%",
    "ünï",
    "a" * 5000,
    cursor_of(None),
    cursor_of({}),
    cursor_of([]),
    cursor_of(["2026-01-01T00:00:00+00:00", "task-1"]),
    cursor_of(["yesterday", "task-1", SCOPE]),
    cursor_of(["2026-01-01T00:00:00", "task-1", SCOPE]),
    cursor_of([5, "task-1", SCOPE]),
    cursor_of(["2026-01-01T00:00:00+00:00", 5, SCOPE]),
    cursor_of(["2026-01-01T00:00:00+00:00", None, SCOPE]),
    cursor_of(["2026-01-01T00:00:00+00:00", "a\x00", SCOPE]),
    cursor_of(["2026-01-01T00:00:00+00:00", "task-1", SCOPE]),
    base64.urlsafe_b64encode(b"[" * 5000).decode(),
]


@pytest.mark.parametrize("cursor", BAD_CURSORS)
def test_a_cursor_that_is_none_is_refused_and_never_page_one(api: Api, cursor: str) -> None:
    make_task(make_workspace())
    assert list(api.get("/v1/tasks", {"cursor": cursor}).refused(ErrorCode.BAD_REQUEST)["fields"]) == ["cursor"]


def test_a_cursor_is_good_for_its_list_and_its_filters_only(api: Api) -> None:
    workspace = make_workspace()
    for _ in range(3):
        make_task(workspace)
    query = {"wsid": workspace.wsid, "limit": "1"}
    cursor = api.get("/v1/tasks", query).body["next_cursor"]
    assert len(api.get("/v1/tasks", {"wsid": workspace.wsid, "limit": "2", "cursor": cursor}).items) == 2
    for other in ({}, {"wsid": make_workspace().wsid}, {"wsid": workspace.wsid, "status": "PENDING"}):
        api.get("/v1/tasks", {**other, "cursor": cursor}).refused(ErrorCode.BAD_REQUEST)
    api.get("/v1/workspaces", {"cursor": cursor}).refused(ErrorCode.BAD_REQUEST)


def test_a_cursor_survives_the_row_it_names(api: Api) -> None:
    workspace = make_workspace()
    first, second, third = [make_task(workspace, created_at=MOMENT.replace(day=day)) for day in (1, 2, 3)]
    cursor = api.get("/v1/tasks", {"limit": 2}).body["next_cursor"]
    second.delete()
    assert [item["task_id"] for item in api.get("/v1/tasks", {"cursor": cursor}).items] == [first.task_id]
    assert third.created_at > first.created_at


def test_a_cursor_with_a_key_beyond_all_numbers_finds_what_lies_before(api: Api) -> None:
    event(MOMENT)
    event(MOMENT)
    raw = api.get("/v1/audit", {"limit": 1}).body["next_cursor"]
    moment, _, scope = json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
    assert len(api.get("/v1/audit", {"cursor": cursor_of([moment, 10**30, scope])}).items) == 2

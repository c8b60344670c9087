"""Every failure is `{"code", "message", "request_id", "details"}`, whatever fails."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from tasks.models import Task
from tests.api.client import Answer, Api
from tests.factories import make_task, make_workspace
from tests.waiting import LIMIT, InThread
from workspaces import services
from workspaces.models import Workspace
from wvs_project.errors import ErrorCode, WvsError
from wvs_project.http.exceptions import failure_of, nearest_code

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §4")]


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v2/workspaces", "/v1/workspaces/", "/v1/webhooks", "/healthz", "/metrics"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_an_unknown_route_is_404(api: Api, method: str, path: str) -> None:
    api.send(method, path).refused(ErrorCode.NOT_FOUND)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "DELETE", "TRACE", "BREW"])
def test_a_wrong_method_is_405_and_says_which_are_right(api: Api, method: str) -> None:
    answer = api.send(method, "/v1/workspaces", content=b"not even JSON")
    answer.refused(ErrorCode.BAD_REQUEST, 405)
    assert answer.headers["Allow"] == "GET, HEAD, POST"


def test_a_wrong_method_on_the_documentation_is_405_too(api: Api) -> None:
    for path in ("/v1/openapi.json", "/v1/docs"):
        api.send("POST", path).refused(ErrorCode.BAD_REQUEST, 405)


def test_head_answers_as_get_without_a_body(api: Api) -> None:
    answer = api.send("HEAD", f"/v1/workspaces/{make_workspace().wsid}")
    assert (answer.status, answer.content) == (200, b"")


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*", "nonsense"])
def test_the_answer_is_json_whatever_is_accepted(api: Api, accept: str) -> None:
    assert api.get("/v1/workspaces", Accept=accept).found() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("query", ["format=xml", "format=json"])
def test_no_query_changes_the_format(api: Api, query: str) -> None:
    api.get("/v1/workspaces", query).refused(ErrorCode.BAD_REQUEST)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "a b", ""])
def test_a_host_that_is_not_ours_is_refused(api: Api, host: str) -> None:
    api.send("GET", "/v1/workspaces", HTTP_HOST=host or "[").refused(ErrorCode.BAD_REQUEST)


def test_a_crash_is_500_without_internals_and_with_its_traceback_in_the_log(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(**kwargs: Any) -> None:
        raise RuntimeError("the secret plan")

    monkeypatch.setattr(services, "get_workspace", crash)
    answer = api.get("/v1/workspaces/some-ws")
    answer.refused(ErrorCode.INTERNAL)
    assert b"secret plan" not in answer.content
    assert answer.body["request_id"] == answer.headers["X-Request-Id"]
    crashes = [record for record in caplog.records if record.exc_info and record.levelno == logging.ERROR]
    assert [str(record.exc_info[1]) for record in crashes if record.exc_info] == ["the secret plan"]


def _hold(row: Any, held: threading.Event, done: threading.Event) -> None:
    with transaction.atomic():
        row.select_for_update().get()
        held.set()
        done.wait(LIMIT)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["workspace", "task"])
def test_a_row_that_stays_locked_is_409_and_will_pass(api: Api, what: str) -> None:
    task = make_task(make_workspace())
    row = Task.objects.filter(pk=task.pk) if what == "task" else Workspace.objects.filter(pk=task.workspace_id)
    held, done = threading.Event(), threading.Event()
    holder = InThread(partial(_hold, row, held, done))
    assert held.wait(LIMIT)
    answers: list[Answer] = [api.post(f"/v1/tasks/{task.task_id}:cancel", key=None)]
    if what == "workspace":
        answers.append(api.post(f"/v1/workspaces/{task.workspace_id}/snapshots"))
    done.set()
    holder.result()
    for answer in answers:
        assert answer.refused(ErrorCode.CONFLICT_LOCKED)["blockers"]
        assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_is_answered_with_its_status(code: ErrorCode) -> None:
    failure = failure_of(WvsError(code, "why", blockers=[{"task_id": "t"}], retry_after=7))
    assert failure is not None
    assert failure.body("req-1") == {
        "code": code.code,
        "message": "why",
        "request_id": "req-1",
        "details": {"blockers": [{"task_id": "t"}]},
    }
    assert (failure.status, failure.headers()) == (code.status, {"Retry-After": "7"})


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "WVS_BAD_REQUEST"), (401, "WVS_UNAUTHORIZED"), (403, "WVS_FORBIDDEN"), (404, "WVS_NOT_FOUND")]
    + [(status, "WVS_BAD_REQUEST") for status in (405, 406, 413, 415, 429)]
    + [(500, "WVS_INTERNAL"), (503, "WVS_INTERNAL")],
)
def test_a_status_without_a_code_of_its_own_has_the_nearest(status: int, code: str) -> None:
    assert nearest_code(status).code == code

"""X-Request-Id and traceparent: taken where usable, always answered, on every line of the log, kept with the task."""

from __future__ import annotations

import pytest
import structlog

from tasks.models import Task
from tests.api.client import Api
from tests.factories import make_workspace
from tests.observation.recorded import PARENT, TRACE, parent_id_of, recorded, trace_of, traceparent_of
from wvs_project.ids import REQUEST_ID_PATTERN, matches

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §4")]


@pytest.mark.parametrize("given", ["a", "req-1", "A.b_c-9", "x" * 128])
def test_a_usable_id_is_taken_over(api: Api, given: str) -> None:
    assert api.get("/v1/workspaces", **{"X-Request-Id": given}).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", " ", "x" * 129, "a b", "a,b", "ünï", "a\tb", "a/b"])
def test_another_is_replaced(api: Api, given: str) -> None:
    made = api.get("/v1/workspaces", **{"X-Request-Id": given}).headers["X-Request-Id"]
    assert made != given
    assert made.startswith("req-")
    assert matches(REQUEST_ID_PATTERN, made)


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/workspaces?limit=0", "/v1/docs", "/v1/openapi.json"])
def test_it_is_answered_whatever_the_answer_is(api: Api, path: str) -> None:
    path, _, query = path.partition("?")
    answer = api.get(path, query, **{"X-Request-Id": "mine"})
    assert answer.headers["X-Request-Id"] == "mine"
    if answer.status >= 400:
        assert answer.body["request_id"] == "mine"


def test_each_request_has_its_own(api: Api) -> None:
    assert len({api.get("/v1/workspaces").headers["X-Request-Id"] for _ in range(3)}) == 3


def test_it_goes_with_the_task_and_so_does_the_trace(api: Api) -> None:
    path = f"/v1/workspaces/{make_workspace().wsid}/snapshots"
    headers = {"X-Request-Id": "mine", "traceparent": PARENT, "Idempotency-Key": "key-1"}
    api.send("POST", path, headers=headers).accepted()
    task = Task.objects.get()
    assert (task.request_id, task.traceparent) == ("mine", PARENT)


@pytest.mark.parametrize(
    "given",
    ["", "x", PARENT.upper(), f"ff{PARENT[2:]}", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE}-{'0' * 16}-01"],
)
def test_a_traceparent_that_is_none_is_left_out(api: Api, given: str) -> None:
    path = f"/v1/workspaces/{make_workspace().wsid}/snapshots"
    api.send("POST", path, headers={"traceparent": given, "Idempotency-Key": "key-1"}).accepted()
    assert Task.objects.get().traceparent == ""


def test_the_log_says_what_was_asked_and_answered(api: Api) -> None:
    merge = structlog.contextvars.merge_contextvars
    with structlog.testing.capture_logs(processors=[merge]) as logs:
        api.get("/v1/nothing", "secret=1", **{"X-Request-Id": "mine", "traceparent": PARENT})
    (line,) = [entry for entry in logs if entry["event"] == "http.request"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/v1/nothing", 404)
    assert (line["request_id"], line["trace_id"]) == ("mine", TRACE)
    assert "request_id" not in structlog.contextvars.get_contextvars()


def test_a_request_is_a_span_named_for_its_route_and_what_it_asks_for_is_below_it(api: Api) -> None:
    wsid = make_workspace().wsid
    with recorded() as spans:
        api.send(
            "POST",
            f"/v1/workspaces/{wsid}/snapshots",
            headers={"traceparent": PARENT, "Idempotency-Key": "key-1", "X-Request-Id": "mine"},
        ).accepted()
        api.get("/v1/nothing")
    made, missed = spans.named("HTTP POST /v1/workspaces/{wsid}/snapshots")[0], spans.named("HTTP GET")[0]
    assert (trace_of(made), parent_id_of(made)) == (TRACE, PARENT.split("-")[2])
    assert Task.objects.get().traceparent == traceparent_of(made)
    assert made.attributes is not None
    assert made.attributes["wvs.request_id"] == "mine"
    assert made.attributes["http.response.status_code"] == 202
    assert parent_id_of(missed) == ""
    assert trace_of(missed) != TRACE


def test_a_request_without_a_trace_begins_one_that_its_lines_name(api: Api) -> None:
    with recorded() as spans, structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logs:
        api.get("/v1/workspaces")
    (line,) = [entry for entry in logs if entry["event"] == "http.request"]
    assert line["trace_id"] == trace_of(spans.the("HTTP GET /v1/workspaces"))


def test_the_line_of_a_refused_request_says_the_code(api: Api) -> None:
    with structlog.testing.capture_logs() as logs:
        api.get("/v1/workspaces")
        api.get("/v1/workspaces", "limit=0")
        api.get("/v1/nothing")
    codes = [entry.get("code") for entry in logs if entry["event"] == "http.request"]
    assert codes == [None, "WVS_BAD_REQUEST", "WVS_NOT_FOUND"]

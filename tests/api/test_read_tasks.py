"""GET /v1/tasks and GET /v1/tasks/{task_id}."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks.models import Op, Task
from tasks.states import Status
from tests.api.client import Api
from tests.factories import make_snapshot, make_task, make_workspace
from wvs_project.errors import ErrorCode

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("op", list(Op))
def test_a_task_is_shown_in_every_status_of_every_operation(api: Api, status: Status, op: Op) -> None:
    snapshot = make_snapshot(make_workspace())
    task = make_task(snapshot.workspace, op, status=status, snapshot=snapshot)
    body = api.get(f"/v1/tasks/{task.task_id}").found()
    assert (body["task_id"], body["wsid"], body["op"]) == (task.task_id, task.workspace_id, op.value)
    assert (body["status"], body["attempt"], body["params"]) == (status.value, task.attempt, task.params)
    assert body["snapshot_id"] == (None if op is Op.INIT_WORKSPACE else snapshot.snapshot_id)
    assert (body["ended_at"] is not None) == status.is_finished


def test_result_error_and_progress_are_shown_as_they_were_written(api: Api) -> None:
    result = {
        "snapshot_id": "x",
        "entries": 3,
        "agent": {"attached": True},
        "timings": {"clone": 0.5},
        "warnings": ["w"],
    }
    error = {"code": "WVS_EXECUTOR_TIMEOUT", "reason": "QUIESCE_TIMEOUT", "message": "no ack", "attempt": 2}
    progress = {"phase": "clone", "entries_done": 5, "entries_total": None}
    written: dict[str, Any] = {"result": result, "error": error, "progress": progress}
    task = make_task(make_workspace(), status=Status.FAILED, **written)
    body = api.get(f"/v1/tasks/{task.task_id}").found()
    assert {name: body[name] for name in written} == written


@pytest.mark.rule("SPEC §4")
def test_one_task_takes_at_most_two_statements(api: Api) -> None:
    task = make_task(make_workspace())
    with CaptureQueriesContext(connection) as queries:
        api.get(f"/v1/tasks/{task.task_id}").found()
    assert 0 < len(queries) <= 2


def test_the_idempotency_key_is_its_senders_alone(api: Api) -> None:
    task = make_task(make_workspace())
    answer = api.get(f"/v1/tasks/{task.task_id}")
    assert task.idempotency_key not in answer.content.decode()


@pytest.mark.parametrize("task_id", ["task-01a20a66-fdbd-77fe-8fd0-adfbec4699fe", "task-1", "snap-1", "x%20y"])
def test_what_is_not_there_is_404(api: Api, task_id: str) -> None:
    api.get(f"/v1/tasks/{task_id}").refused(ErrorCode.NOT_FOUND)


@pytest.mark.parametrize("wait", ["-1", "61", "60.5", "1e1", "nan", "inf", "", " 1", "1 ", "x", "٣", "0x1", "100"])
def test_a_wait_that_is_not_between_0_and_60_seconds_is_refused(api: Api, wait: str) -> None:
    task = make_task(make_workspace())
    details = api.get(f"/v1/tasks/{task.task_id}", {"wait": wait}).refused(ErrorCode.BAD_REQUEST)
    assert list(details["fields"]) == ["wait"]


def test_the_list_filters_by_workspace_status_and_operation(api: Api) -> None:
    workspace = make_workspace()
    init = make_task(workspace, Op.INIT_WORKSPACE, status=Status.SUCCEEDED)
    running = make_task(workspace, status=Status.RUNNING)
    elsewhere = make_task(make_workspace(), status=Status.RUNNING)

    def listed(**query: str) -> list[str]:
        return [item["task_id"] for item in api.get("/v1/tasks", query).items]

    assert listed() == [elsewhere.task_id, running.task_id, init.task_id]
    assert listed(wsid=workspace.wsid) == [running.task_id, init.task_id]
    assert listed(status="RUNNING") == [elsewhere.task_id, running.task_id]
    assert listed(op="init_workspace") == [init.task_id]
    assert listed(op="init_workspace", status="RUNNING") == []


@pytest.mark.parametrize("query", ["status=pending", "op=nothing", "wsid=A", "wait=5", "status=RUNNING&status=DEAD"])
def test_a_filter_that_means_nothing_is_refused(api: Api, query: str) -> None:
    api.get("/v1/tasks", query).refused(ErrorCode.BAD_REQUEST)


def test_a_list_costs_one_statement_and_counts_nothing(api: Api) -> None:
    workspace = make_workspace()
    for _ in range(5):
        make_task(workspace)
    with CaptureQueriesContext(connection) as queries:
        assert len(api.get("/v1/tasks", {"wsid": workspace.wsid, "limit": 3}).items) == 3
    assert len(queries) == 1
    assert Task.objects.count() == 5

"""What only a real server shows: chunks, requests that are none, waiting clients, Redis or PostgreSQL being down."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from tasks.models import Task
from tasks.states import Status
from tests.api.contract import validate
from tests.api.serving import Served, served
from tests.factories import make_task, make_workspace
from tests.waiting import LIMIT, eventually
from wvs_project.stack.waiting import LOOPBACK, free_port

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.rule("SPEC §4")]

ERROR = {"$ref": "#/components/schemas/Error"}


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests that leave it as it is."""
    with served(tmp_path_factory.mktemp("server") / "log", WVS_API_THREADS="8") as running:
        yield running


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Served]:
    """One to stop and to kill."""
    with served(tmp_path / "log") as running:
        yield running


def in_chunks(path: str, chunks: list[bytes], end: bytes = b"0\r\n\r\n") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Idempotency-Key: key-1\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def test_a_body_in_chunks_is_the_same_body(server: Served) -> None:
    path = f"/v1/workspaces/{make_workspace().wsid}/snapshots"
    status, headers, body = server.raw(in_chunks(path, [b'{"mess', b'age": "x"}']))
    assert (status, body["status"], "Idempotent-Replayed" in headers) == (202, "PENDING", False)
    again = server.post(path, {"message": "x"})
    assert (again.json()["task_id"], again.headers["Idempotent-Replayed"]) == (body["task_id"], "true")


@pytest.mark.parametrize(
    ("chunks", "end", "expected"),
    [([b" " * 30_000] * 3, b"0\r\n\r\n", 413), ([b"{}"], b"zz\r\n", 400), ([b'{"message"'], b"0\r\n\r\n", 400)],
    ids=["too large", "broken chunk", "not JSON"],
)
def test_bad_chunks_are_refused_as_any_bad_body(server: Served, chunks: list[bytes], end: bytes, expected: int) -> None:
    status, headers, body = server.raw(in_chunks(f"/v1/workspaces/{make_workspace().wsid}/snapshots", chunks, end))
    assert status == expected
    validate(body, ERROR)
    assert headers["X-Request-Id"] == body["request_id"]
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"this is no HTTP\r\n\r\n", 400),
        (b"GET /v1/workspaces?cursor=" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /v1/workspaces HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET /v1/workspaces HTTP/1.1\r\nHost: localhost\r\nbad header: x\r\n\r\n", 400),
        (b"GET /v1/workspaces HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    ],
    ids=["no HTTP", "long line", "long header", "bad header", "foreign host", "climbing path"],
)
def test_what_fails_before_a_route_is_found_fails_as_json_too(server: Served, sent: bytes, expected: int) -> None:
    status, headers, body = server.raw(sent)
    assert (status, headers["Content-Type"]) == (expected, "application/json")
    validate(body, ERROR)
    assert headers["X-Request-Id"] == body["request_id"]


def test_the_documentation_works_without_anything_from_elsewhere(server: Served) -> None:
    page = server.request("GET", "/v1/docs").text
    needed = re.findall(r"(?:src|href)=[\"'](/static/[^\"']+)", page)
    assert {server.request("GET", path).status_code for path in needed} == {200}


def test_health_and_metrics_are_on_their_own_port_only(server: Served) -> None:
    ready = server.health("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "checks": {"postgres": "ok", "redis": "ok"}})
    assert "python_info" in server.health("/metrics").text
    assert server.health("/v1/workspaces").status_code == 404
    for path in ("/healthz", "/readyz", "/metrics"):
        assert server.request("GET", path).status_code == 404


def test_sixty_waiting_clients_leave_the_api_free(server: Served) -> None:
    task = make_task(make_workspace(), status=Status.RUNNING)
    path = f"/v1/tasks/{task.task_id}?wait=60"
    with ThreadPoolExecutor(60) as clients:
        answers = [clients.submit(server.request, "GET", path) for _ in range(60)]
        eventually(lambda: sum(answer.done() for answer in answers) >= 56, "all but the four with a place are answered")
        turned_away = [answer.result() for answer in answers if answer.done()]
        assert {(answer.status_code, answer.headers["Retry-After"]) for answer in turned_away} == {(200, "1")}
        assert server.post(f"/v1/workspaces/{make_workspace().wsid}/snapshots").status_code == 202
        assert sum(not answer.done() for answer in answers) == 4
        task.move(Status.SUCCEEDED)
        said = [answer.result(LIMIT).json()["status"] for answer in answers if answer.result(LIMIT) not in turned_away]
    assert said == ["SUCCEEDED"] * 4


def test_sigterm_answers_who_waits_and_ends(own_server: Served) -> None:
    task = make_task(make_workspace(), status=Status.RUNNING)
    waiting, before = {"X-Request-Id": "waiting"}, listeners()
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(own_server.request, "GET", f"/v1/tasks/{task.task_id}?wait=60", headers=waiting)
        eventually(lambda: listeners() > before, "the client waits")
        assert own_server.stop() == 0
        assert answer.result(LIMIT).json()["status"] == "RUNNING"
    lines = own_server.lines()
    assert all({"ts", "level", "event"} <= set(line) for line in lines)
    (line,) = [line for line in lines if line["event"] == "http.request"]
    assert (line["request_id"], line["status"], line["path"]) == ("waiting", 200, f"/v1/tasks/{task.task_id}")


def listeners() -> int:
    """How many servers listen for finishes: each does from its first waiter on."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = 'wvs-listen' AND datname = current_database()"
        )
        return int(cursor.fetchone()[0])


def test_a_worker_that_was_killed_is_replaced_and_so_is_its_health(own_server: Served) -> None:
    booted = next(line["event"] for line in own_server.lines() if line["event"].startswith("Booting worker"))
    pid = int(re.findall(r"\d+", booted)[0])
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: len([x for x in own_server.lines() if x["event"].startswith("Booting")]) == 2, "a new worker")
    assert own_server.health("/readyz").status_code == 200
    assert own_server.request("GET", "/v1/workspaces").status_code == 200


@pytest.mark.rule("SPEC §6")
def test_without_redis_a_write_is_accepted_and_readyz_says_what_is_down(tmp_path: Path) -> None:
    dead = f"redis://{LOOPBACK}:{free_port()}/0"
    with served(tmp_path / "log", WVS_REDIS_URL=dead) as server:
        answer = server.post(f"/v1/workspaces/{make_workspace().wsid}/snapshots")
        assert answer.status_code == 202
        assert Task.objects.get(pk=answer.json()["task_id"]).status == Status.PENDING
        ready = server.health("/readyz")
        assert (ready.status_code, ready.json()["checks"]["postgres"]) == (503, "ok")
        assert ready.json()["checks"]["redis"].startswith("down: ")
        assert server.health("/healthz").status_code == 200


@pytest.mark.rule("SPEC §6")
def test_without_postgresql_nothing_is_accepted_and_the_answer_says_so(tmp_path: Path) -> None:
    dead = f"postgresql://wvs:hunter2@{LOOPBACK}:{free_port()}/wvs"
    with served(tmp_path / "log", WVS_DB_DSN=dead) as server:
        answer = server.post("/v1/workspaces", {"wsid": "some-ws", "owner": "x"})
        assert (answer.status_code, answer.json()["code"]) == (500, "WVS_INTERNAL")
        assert (answer.headers["Retry-After"], "database" in answer.json()["message"]) == ("1", True)
        ready = server.health("/readyz")
        assert (ready.status_code, ready.json()["checks"]["redis"]) == (503, "ok")
        assert ready.json()["checks"]["postgres"].startswith("down: ")
        assert "hunter2" not in server.log.read_text() + answer.text + ready.text

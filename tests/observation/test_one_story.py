"""One request through every process of a real stack, as its logs and its trace tell it (SPEC §11).

API, worker, scheduler and an executor of its own behind gRPC; the volume is an ordinary directory. Its only executor is
held, once a switch's clone is made, while the file `hold` is away.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.observation.collector import Collector, Seen, collecting
from tests.stack.running import StackOnDisk, stack_on_disk
from tests.waiting import eventually
from wvs_agent import QuiesceWatcher
from wvs_project.stack.envfile import read_env_file

pytestmark = pytest.mark.rule("SPEC §11")
WSID = "the-story"
PROCESSES = ("api", "worker", "scheduler", "executor-1")


@dataclass
class Scene:
    """The stack, what collects its traces, and the file without which a switch is held."""

    stack: StackOnDisk
    collector: Collector
    free: Path

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, /, **headers: str) -> dict[str, Any]:
        """Answers with the body."""
        answer = httpx.request(
            method,
            f"{self.stack.env['WVS_API_URL']}/v1{path}",
            json=body,
            headers={"Idempotency-Key": str(uuid4()), **headers},
            timeout=70,
            trust_env=False,
        )
        assert answer.is_success, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def ended(self, task_id: str) -> dict[str, Any]:
        """The task, once it is finished."""
        while (task := self.ask("GET", f"/tasks/{task_id}?wait=30"))["status"] in ("PENDING", "RUNNING", "FAILED"):
            pass
        return task

    def snapshot(self, **headers: str) -> dict[str, Any]:
        """A finished one: its task."""
        made = self.ask("POST", f"/workspaces/{WSID}/snapshots", {}, **headers)
        task = self.ended(made["task_id"])
        assert task["status"] == "SUCCEEDED", task
        return task | {"snapshot_id": made["snapshot_id"]}

    def lines(self, request_id: str) -> list[dict[str, Any]]:
        """Of all logs, in the order of their times; `process` says whose each is."""
        found = []
        for name in PROCESSES:
            for text in (self.stack.state / "log" / f"{name}.log").read_text().splitlines():
                if request_id in text:
                    found.append(json.loads(text) | {"process": name.partition("-")[0]})
        return sorted(found, key=lambda line: line["ts"])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    free = tmp_path_factory.mktemp("hold") / "free"
    free.touch()
    with collecting() as collector, stack_on_disk() as stack:
        stack.up(
            WVS_STACK_EXECUTORS="1",
            WVS_STACK_FUSE="off",
            WVS_LOG_FORMAT="json",
            WVS_FAILPOINTS=f"set_current.cloned=pause:{free}",
            WORKER_BACKOFF_BASE="100ms",
            OTEL_TRACES_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY="50",
            NO_PROXY="127.0.0.1",
            no_proxy="127.0.0.1",
        )
        scene = Scene(stack, collector, free)
        made = scene.ask("POST", "/workspaces", {"wsid": WSID, "owner": "a test"})
        assert scene.ended(made["init_task_id"])["status"] == "SUCCEEDED"
        yield scene


def agent(scene: Scene) -> QuiesceWatcher:
    """One that is attached while the context lasts, and stands still when it is asked to."""
    root = Path(scene.stack.env["EXECUTOR_MOUNT_PATH"]) / WSID
    return QuiesceWatcher(root, on_freeze=lambda: None, on_resume=lambda current: None)


def test_one_request_id_tells_the_whole_story_of_a_snapshot(scene: Scene) -> None:
    with agent(scene):
        task = scene.snapshot(**{"X-Request-Id": "req-of-the-story"})
    lines = eventually(lambda: up_to("task.succeeded", scene.lines("req-of-the-story")), "the end of the story")

    told = [(line["process"], line["event"]) for line in lines]
    # The answer is on its way while the worker begins.
    told.remove(("api", "http.request"))
    assert told == [
        ("api", "task.submitted"),
        ("worker", "task.claimed"),
        ("executor", "execute.began"),
        ("executor", "freeze.asked"),
        ("executor", "freeze.began"),
        ("executor", "freeze.ended"),
        ("executor", "snapshot.published"),
        ("executor", "execute.done"),
        ("worker", "task.succeeded"),
    ]
    assert {line["request_id"] for line in lines} == {"req-of-the-story"}
    [trace_id] = {line["trace_id"] for line in lines}
    about = [line for line in lines if line["event"] != "http.request"]
    assert {(line["task_id"], line["wsid"], line["op"]) for line in about} == {
        (task["task_id"], WSID, "snapshot_create")
    }
    assert [line["attempt"] for line in about] == [0, *[1] * 8]
    assert eventually(lambda: scene.collector.of_trace(trace_id), "the trace of the lines")


def test_one_trace_leads_from_the_post_to_the_switch_of_the_symlink(scene: Scene) -> None:
    snapshot_id = scene.snapshot()["snapshot_id"]
    asked = scene.ask("POST", f"/workspaces/{WSID}/current:set", {"snapshot_id": snapshot_id})
    assert scene.ended(asked["task_id"])["status"] == "SUCCEEDED"

    spans = eventually(lambda: complete(scene.collector.of_task(asked["task_id"])), "the whole trace")
    assert {span.trace for span in spans} == {spans[0].trace}
    by_id = {span.id: span for span in spans}
    assert {(span.service, span.name, span.parent and by_id[span.parent].name) for span in spans} == {
        ("wvs-api", POST, ""),
        ("wvs-worker", "worker.execute_task", POST),
        ("wvs-worker", "worker.acquire_lock", "worker.execute_task"),
        ("wvs-executor", "executor.clone", "worker.execute_task"),
        ("wvs-executor", "executor.quiesce", "worker.execute_task"),
        ("wvs-executor", "executor.switch_current", "worker.execute_task"),
    }
    assert [span.name for span in spans if span.failed is not None] == []
    clone, quiesce, switch = (next(span for span in spans if span.name == f"executor.{name}") for name in INSIDE)
    assert clone.ended_at <= quiesce.begun_at <= quiesce.ended_at <= switch.begun_at
    assert next(span for span in spans if span.name == POST).attributes["http.response.status_code"] == 202


def test_a_killed_worker_the_rescue_and_the_next_attempt_are_of_the_same_story(scene: Scene) -> None:
    snapshot_id = scene.snapshot()["snapshot_id"]
    scene.free.unlink()
    asked = scene.ask(
        "POST", f"/workspaces/{WSID}/current:set", {"snapshot_id": snapshot_id}, **{"X-Request-Id": "req-rescued"}
    )
    eventually(lambda: told(scene, "execute.began"), "the executor works on it")
    os.kill(int(scene.stack.env["WVS_PID_WORKER"]), signal.SIGKILL)
    eventually(lambda: told(scene, "task.rescued"), "the scheduler has rescued it")
    scene.free.touch()
    assert scene.ended(asked["task_id"])["status"] == "SUCCEEDED"

    [rescued] = told(scene, "task.rescued")
    assert (rescued["process"], rescued["task_id"], rescued["attempt"]) == ("scheduler", asked["task_id"], 1)
    assert (rescued["code"], rescued["reason"]) == ("WVS_EXECUTOR_ERROR", "WORKER_LOST")
    assert told(scene, "caller.gone")
    assert told(scene, "probe.answered")
    assert [line["attempt"] for line in told(scene, "execute.began")] == [1, 2]
    last = {*LAST, "task.rescue"}
    spans = eventually(lambda: complete(scene.collector.of_task(asked["task_id"]), last), "the whole trace")
    assert len({span.trace for span in spans}) == 1
    [rescue] = [span for span in spans if span.name == "task.rescue"]
    assert rescue.service == "wvs-scheduler"
    assert rescue.parent == next(span.id for span in spans if span.name == POST)


def test_no_log_of_any_process_holds_a_secret(scene: Scene) -> None:
    scene.ask("GET", "/workspaces", **{"Authorization": "Bearer of-the-client", "Cookie": "session=of-the-client"})
    logs = "".join(path.read_text() for path in (scene.stack.state / "log").glob("*.log"))
    kept = read_env_file(scene.stack.state / "secrets")
    secrets = [value for name, value in kept.items() if name != "WVS_ADMIN_USER"]
    assert '"http.request"' in logs
    assert len(secrets) > 3
    assert [secret for secret in (*secrets, "of-the-client") if secret in logs] == []


def test_a_replayed_request_is_told_with_the_first_ones_id(scene: Scene) -> None:
    for request_id in ("req-the-first", "req-the-second"):
        headers = {"Idempotency-Key": "the-same", "X-Request-Id": request_id}
        task_id = scene.ask("POST", f"/workspaces/{WSID}/snapshots", {}, **headers)["task_id"]
    [line] = [line for line in scene.lines("req-the-second") if line["event"] == "task.replayed"]
    assert (line["task_id"], line["first_request_id"]) == (task_id, "req-the-first")
    scene.ended(task_id)


POST = "HTTP POST /v1/workspaces/{wsid}/current:set"
INSIDE = ("clone", "quiesce", "switch_current")
LAST = {POST, "worker.execute_task", "worker.acquire_lock", *(f"executor.{name}" for name in INSIDE)}


def complete(spans: list[Seen], names: set[str] = LAST) -> list[Seen]:
    """Empty until all of these have arrived: each process sends by itself."""
    return spans if {span.name for span in spans} >= names else []


def up_to(event: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Empty until the event is told, which is a moment after it is true."""
    return lines if event in {line["event"] for line in lines} else []


def told(scene: Scene, event: str) -> list[dict[str, Any]]:
    return [line for line in scene.lines("req-rescued") if line["event"] == event]

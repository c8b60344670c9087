"""wvsctl obs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from executor.metrics import ExecutorMetrics
from tests.api.serving import Served
from tests.wvsctl.ports import port
from tests.wvsctl.running import Wvsctl
from wvs_project.stack.waiting import LOOPBACK, free_port

pytestmark = pytest.mark.rule("SPEC §9")


def worker_page() -> str:
    registry = CollectorRegistry()
    tasks = Counter("wvs_task_total", "Tasks.", ["op", "status"], registry=registry)
    tasks.labels("set_current", "SUCCEEDED").inc(7)
    tasks.labels("snapshot_create", "SUCCEEDED").inc(2)
    tasks.labels("snapshot_create", "DEAD").inc()
    tasks.labels("snapshot_create", "CANCELED").inc(5)
    Gauge("wvs_task_queue_depth", "Waiting.", registry=registry).set(4)
    for name in ("wvs_task_duration_seconds", "wvs_task_wait_seconds"):
        times = Histogram(name, "Time.", ["op"], buckets=(1.0, 2.0), registry=registry)
        times.labels("set_current").observe(1.5)
    return generate_latest(registry).decode()


def executor_page() -> str:
    return generate_latest(ExecutorMetrics().registry).decode()


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Of a worker and an executor."""
    with (
        port({"/metrics": (200, worker_page())}) as worker,
        port({"/metrics": (200, executor_page())}) as executor,
    ):
        monkeypatch.setenv("WVS_METRICS_URLS", f"{worker},{executor}/metrics")
        yield [worker, executor]


def test_summary_shows_the_share_of_tasks_that_succeeded(urls: list[str]) -> None:
    shown = Wvsctl()("obs summary --json").json
    assert shown["task_success_rate"] == 0.9
    assert shown["tasks"] == {"CANCELED": 5.0, "DEAD": 1.0, "SUCCEEDED": 9.0}
    assert (shown["queue_depth"], shown["quiesce_timeouts"]) == (4.0, 0.0)
    assert [source["ok"] for source in shown["sources"]] == [True, True]
    assert "90.0000%" in Wvsctl()("obs summary").ok()


def test_summary_says_what_nobody_exports_and_that_no_task_has_ended(server: Served) -> None:
    """The API's own port knows of the tasks that were canceled before they began, and of no other."""
    line = f"obs summary --metrics-url http://{LOOPBACK}:{server.metrics_port}"
    shown = Wvsctl()(f"{line} --json").json
    assert shown["task_success_rate"] is None
    assert shown["tasks"].get("SUCCEEDED", 0) + shown["tasks"].get("DEAD", 0) == 0  # canceled ones may have been
    assert {"wvs_task_queue_depth", "wvs_quiesce_timeout_total"} <= set(shown["missing"])
    said = Wvsctl()(line).ok()
    assert "task_success_rate" in said
    assert "n/a" in said
    assert "not exported (yet): " in said


def test_latency_shows_each_op(urls: list[str]) -> None:
    shown = Wvsctl()("obs latency --json").json
    assert shown["duration"]["set_current"] == {"count": 1, "mean": 1.5, "p50": 1.5, "p95": 1.95, "p99": 1.99}
    assert shown["wait"].keys() == {"set_current"}
    assert "1.950 s" in Wvsctl()("obs latency").ok()


def test_two_workers_that_know_one_queue_are_one_queue_and_a_port_named_twice_is_read_once(urls: list[str]) -> None:
    with port({"/metrics": (200, worker_page())}) as other:
        ports = " ".join(f"--metrics-url {url}" for url in (urls[0], f"{urls[0]}/metrics", other))
        shown = Wvsctl()(f"obs summary --json {ports}").json
    assert (shown["queue_depth"], len(shown["sources"])) == (4.0, 2)
    assert shown["tasks"]["DEAD"] == 2.0


def test_queue_shows_how_many_wait_and_how_long_they_did(urls: list[str]) -> None:
    shown = Wvsctl()("obs queue --json").json
    assert (shown["queue_depth"], shown["wait"]["count"]) == (4.0, 1.0)
    assert shown["missing"] == ["wvs_task_retry_total"]
    assert "1.500 s" in Wvsctl()("obs queue").ok()


def test_quiesce_knows_the_names_that_an_executor_exports(urls: list[str]) -> None:
    shown = Wvsctl()("obs quiesce --json").json
    assert (shown["missing"], shown["quiesce_timeouts"]) == ([], 0.0)
    assert shown["standstill"] == {"count": 0.0, "mean": None, "p50": None, "p95": None, "p99": None}
    assert "n/a" in Wvsctl()("obs quiesce").ok()


@pytest.mark.parametrize("what", ["summary", "latency", "queue", "quiesce"])
def test_a_port_that_does_not_answer_fails_and_the_rest_is_shown(urls: list[str], what: str) -> None:
    nobody = f"http://{LOOPBACK}:{free_port()}"
    ran = Wvsctl()(f"obs {what} --metrics-url {urls[0]} --metrics-url {nobody}")
    assert ran.code == 1
    assert ran.out
    assert f"UNREACHABLE: {nobody}/metrics: " in ran.err


def test_a_port_that_speaks_of_something_else_is_said_to() -> None:
    with port({"/metrics": (200, "<html>\n")}) as url:
        ran = Wvsctl()(f"obs summary --metrics-url {url}")
    assert ran.code == 1
    assert "no metric: '<html>'" in ran.err


def test_without_a_port_it_says_which_there_are() -> None:
    ran = Wvsctl()("obs summary")
    assert ran.code == 2
    assert "--metrics-url" in ran.err
    assert "9091 (worker)" in ran.err

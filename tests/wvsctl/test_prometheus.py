"""wvsctl obs, asking Prometheus in place of the ports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.wvsctl.ports import answering
from tests.wvsctl.running import Wvsctl
from wvs_project.stack.waiting import LOOPBACK, free_port

pytestmark = pytest.mark.rule("SPEC §9")

Vector = list[tuple[dict[str, str], float]]
BUCKETS: Vector = [({"op": "set_current", "le": le}, n) for le, n in (("1.0", 0.0), ("2.0", 1.0), ("+Inf", 1.0))]
STORED: dict[str, Vector] = {
    "sum without (instance, job) (increase(wvs_task_total[3600s]))": [
        ({"op": "set_current", "status": "SUCCEEDED"}, 7.0),
        ({"op": "snapshot_create", "status": "SUCCEEDED"}, 2.0),
        ({"op": "snapshot_create", "status": "DEAD"}, 1.0),
    ],
    "max(wvs_task_queue_depth)": [({}, 4.0)],
    "sum without (instance, job) (increase(wvs_task_retry_total[1800s]))": [({"op": "set_current"}, 3.0)],
    "sum without (instance, job) (increase(wvs_task_wait_seconds_count[1800s]))": [({"op": "set_current"}, 1.0)],
    "sum without (instance, job) (increase(wvs_task_wait_seconds_sum[1800s]))": [({"op": "set_current"}, 1.5)],
    "sum without (instance, job) (increase(wvs_task_wait_seconds_bucket[1800s]))": BUCKETS,
}


def answer(query: str) -> tuple[int, str]:
    found = STORED.get(query, [])
    result = [{"metric": labels, "value": [1795550000.0, str(value)]} for labels, value in found]
    return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


def prometheus(answers: Callable[[str], tuple[int, str]] = answer) -> AbstractContextManager[str]:
    """The address of a server that answers queries as Prometheus does, and nothing else."""

    def get(path: str) -> tuple[int, str]:
        asked = urlsplit(path)
        return answers(parse_qs(asked.query)["query"][0]) if asked.path == "/api/v1/query" else (404, "")

    return answering(get)


def test_summary_is_of_what_all_processes_did_within_the_hour() -> None:
    with prometheus() as url:
        shown = Wvsctl()(f"obs summary --json --prometheus-url {url}").json
    assert (shown["task_success_rate"], shown["queue_depth"]) == (0.9, 4.0)
    assert shown["sources"] == [{"url": url, "ok": True, "error": None}]
    assert "wvs_drift_total" in shown["missing"]


def test_queue_is_of_the_time_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with prometheus() as url:
        monkeypatch.setenv("WVS_PROMETHEUS_URL", f"{url}/")
        shown = Wvsctl()("obs queue --json --since 30m").json
    assert (shown["task_retries"], shown["missing"]) == (3.0, [])
    assert shown["wait"] == {"count": 1.0, "mean": 1.5, "p50": 1.5, "p95": 1.95, "p99": 1.99}


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (lambda query: (200, "<html>"), "no answer to a query: '<html>'"),
        (lambda query: (200, '{"status": "success"}'), "no answer to a query"),
        (lambda query: (503, "busy"), "503"),
    ],
)
@pytest.mark.parametrize("what", ["summary", "latency", "queue", "quiesce"])
def test_what_is_no_answer_fails_and_nothing_is_made_of_it(
    answers: Callable[[str], tuple[int, str]], said: str, what: str
) -> None:
    with prometheus(answers) as url:
        ran = Wvsctl()(f"obs {what} --prometheus-url {url}")
    assert ran.code == 1
    assert said in ran.err
    assert not re.search(r"\b0\b", ran.out)


def test_its_password_is_not_shown() -> None:
    ran = Wvsctl()(f"obs summary --json --prometheus-url http://reader:hidden@{LOOPBACK}:{free_port()}")
    assert ran.code == 1
    assert "hidden" not in ran.out + ran.err

"""A stack that did something, and what each of its processes shows of it (SPEC §11)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from scripts.metrics import PAGE, WHERE_IT_IS_WATCHED, documented, family_name, scrape
from tests.stack.running import StackOnDisk, stack_on_disk
from wvs_project.stack.config import SOURCES

pytestmark = pytest.mark.rule("§11")

WSID = "measured-workspace"
AN_ID = re.compile(r"[0-9a-f]{8}-|task-|snap-|live-|measured|nobodys", re.IGNORECASE)


class Scraped:
    """A stack on which a workspace was made, snapshotted, switched and a snapshot dropped, and what was refused."""

    def __init__(self, stack: StackOnDisk) -> None:
        self.stack = stack
        self.urls = [url for name, url in stack.env.items() if name.startswith("WVS_METRICS_URL_")]
        self._drive()
        self.families: dict[str, list[Metric]] = scrape(self.urls)

    def _drive(self) -> None:
        made = self.stack.api("POST", "/workspaces", json={"wsid": WSID, "owner": "tests"}).json()
        self._ended(made["init_task_id"])
        taken = [self._snapshot() for _ in range(2)]
        path = f"/workspaces/{WSID}"
        asked = self.stack.api("POST", f"{path}/current:set", json={"snapshot_id": taken[0], "fresh": True}).json()
        self._ended(asked["task_id"])
        dropped = self.stack.api("DELETE", f"{path}/snapshots/{taken[1]}").json()
        self._ended(dropped["task_id"])
        assert self.stack.api("GET", "/workspaces/nobodys").status_code == httpx.codes.NOT_FOUND
        assert self.stack.api("GET", f"/nothing/{taken[0]}").status_code == httpx.codes.NOT_FOUND

    def _snapshot(self) -> str:
        made = self.stack.api("POST", f"/workspaces/{WSID}/snapshots", json={}).json()
        self._ended(made["task_id"])
        return str(made["snapshot_id"])

    def _ended(self, task_id: str) -> None:
        task: dict[str, Any] = self.stack.api("GET", f"/tasks/{task_id}?wait=30").json()
        assert task["status"] == "SUCCEEDED", task

    def total(self, sample_name: str, **labels: str) -> float:
        return sum(
            sample.value
            for metrics in self.families.values()
            for metric in metrics
            for sample in metric.samples
            if sample.name == sample_name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    with stack_on_disk() as made:
        made.up(EXECUTOR_MOUNT_PATH=str(tmp_path_factory.mktemp("ws")), EXECUTOR_CLONE_DRIVER="copy")
        yield Scraped(made)


def test_every_metric_of_the_page_is_shown_by_some_process(scraped: Scraped) -> None:
    wanted = {one.name for one in documented(PAGE.read_text())} - WHERE_IT_IS_WATCHED
    shown = {name for name, metrics in scraped.families.items() if any(metric.samples for metric in metrics)}
    assert wanted - shown == set()


@pytest.mark.parametrize(
    ("sample", "labels", "value"),
    [
        ("wvs_task_total", {"status": "SUCCEEDED"}, 5),
        ("wvs_task_total", {"status": "DEAD"}, 0),
        ("wvs_task_retry_total", {}, 0),
        ("wvs_task_duration_seconds_count", {"op": "snapshot_create"}, 2),
        ("wvs_task_wait_seconds_count", {"op": "set_current"}, 1),
        ("wvs_workspace_state_transitions_total", {"from": "PROVISIONING", "to": "ACTIVE"}, 1),
        ("wvs_clone_duration_seconds_count", {"op": "snapshot_create"}, 2),
        ("wvs_clone_duration_seconds_count", {"op": "set_current"}, 1),
        ("wvs_switch_duration_seconds_count", {}, 1),
        ("wvs_executor_active_tasks", {}, 0),
        ("wvs_task_queue_depth", {}, 0),
        ("wvs_http_requests_total", {"route": "/v1/workspaces/{wsid}", "method": "GET", "code": "404"}, 1),
        ("wvs_http_requests_total", {"route": "(none)", "code": "404"}, 1),
    ],
)
def test_what_was_done_is_what_is_counted(scraped: Scraped, sample: str, labels: dict[str, str], value: float) -> None:
    assert scraped.total(sample, **labels) == value


def test_statements_of_postgresql_are_counted_and_timed(scraped: Scraped) -> None:
    assert scraped.total("django_db_execute_total") > 0
    assert scraped.total("django_db_query_duration_seconds_count") > 0


def test_no_label_of_any_process_carries_an_id(scraped: Scraped) -> None:
    samples = [s for metrics in scraped.families.values() for metric in metrics for s in metric.samples]
    assert len(samples) > 300
    values = {value for sample in samples for value in sample.labels.values()}
    assert {value for value in values if AN_ID.search(value)} == set()
    assert {name for sample in samples for name in sample.labels} & {"wsid", "task_id", "snapshot_id"} == set()


def test_each_process_answers_for_its_health(scraped: Scraped) -> None:
    for url in scraped.urls:
        for path in ("/healthz", "/readyz"):
            assert httpx.get(url + path, trust_env=False).status_code == httpx.codes.OK


def test_only_the_scheduler_tells_how_the_queue_stands(scraped: Scraped) -> None:
    shown = {
        name
        for name, url in scraped.stack.env.items()
        if name.startswith("WVS_METRICS_URL_") and "wvs_task_queue_depth" in _names(url)
    }
    assert shown == {"WVS_METRICS_URL_SCHEDULER"}


def _names(url: str) -> set[str]:
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    return {family_name(family) for family in text_string_to_metric_families(text)}


def test_status_lists_where_each_process_shows_its_metrics_and_the_table_is_whole(scraped: Scraped) -> None:
    stated = _stack_says(scraped.stack.state, "status")
    assert all(f"{url}/metrics" in stated for url in scraped.urls)
    table = _stack_says(scraped.stack.state, "metrics")
    assert [one.name for one in documented(PAGE.read_text()) if one.name not in table] == []


def _stack_says(state: Path, command: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "wvs_project.stack", command],
        cwd=SOURCES,
        env={**os.environ, "COLUMNS": "200", "WVS_STACK_DIR": str(state)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout

"""From the processes' metrics to an alert: a running stack, scraped, stored, judged and asked (SPEC §11)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.monitoring import PASSWORD, Monitoring, targets_of
from tests.stack.running import StackOnDisk, stack_on_disk

pytestmark = [pytest.mark.victoria, pytest.mark.fuse, pytest.mark.rule("SPEC-11")]
JOBS = {"wvs-api", "wvs-worker", "wvs-scheduler", "wvs-executor", "juicefs"}


@pytest.fixture(scope="module")
def stack() -> Iterator[StackOnDisk]:
    with stack_on_disk() as made:
        made.up(WVS_STACK_EXECUTORS="1")
        yield made


@pytest.fixture(scope="module")
def monitoring(stack: StackOnDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    made = Monitoring(tmp_path_factory.mktemp("monitoring"))
    try:
        made.start(targets_of(stack.env))
        yield made
    finally:
        made.stop()


def ended(stack: StackOnDisk, task_id: str) -> dict[str, Any]:
    task: dict[str, Any] = stack.api("GET", f"/tasks/{task_id}?wait=30").json()
    assert task["ended_at"], task
    return task


def new_snapshot(stack: StackOnDisk, wsid: str) -> str:
    """Of a workspace that is made with it."""
    made = stack.api("POST", "/workspaces", json={"wsid": wsid, "owner": "tests"}).json()
    assert ended(stack, made["init_task_id"])["status"] == "SUCCEEDED"
    taken = stack.api("POST", f"/workspaces/{wsid}/snapshots", json={}).json()
    assert ended(stack, taken["task_id"])["status"] == "SUCCEEDED"
    return str(taken["snapshot_id"])


def test_every_process_and_the_mount_are_scraped_and_healthy(monitoring: Monitoring) -> None:
    up = monitoring.values("up", "job")
    assert {job: up[job] for job in JOBS} == dict.fromkeys(JOBS, 1.0)
    monitoring.wait_for(lambda: bool(monitoring.query("juicefs_used_inodes")), "the mount's metrics")
    assert not monitoring.query('{__name__=~"juicefs_.+", mp!=""}')


def test_the_success_of_tasks_is_recorded_nothing_alarms_then_a_dead_task_does(
    stack: StackOnDisk, monitoring: Monitoring
) -> None:
    snapshot = new_snapshot(stack, "watched")
    monitoring.wait_for(lambda: monitoring.total('wvs_task_total{status="SUCCEEDED"}') >= 2, "both tasks are counted")
    monitoring.judged()
    assert monitoring.alerts() == {}
    monitoring.wait_for(lambda: monitoring.total("wvs:task_success:ratio_5m") == 1, "all have succeeded, says the rule")

    shutil.rmtree(Path(stack.env["EXECUTOR_MOUNT_PATH"]) / "watched" / "snapshots" / snapshot)
    asked = stack.api("POST", "/workspaces/watched/current:set", json={"snapshot_id": snapshot, "fresh": True}).json()
    died = ended(stack, asked["task_id"])
    assert (died["status"], died["error"]["reason"]) == ("DEAD", "SNAPSHOT_MISSING")

    monitoring.wait_for(lambda: monitoring.alerts().get("WVSDeadTasks") == "firing", "the alert of a dead task")
    monitoring.judged()
    monitoring.wait_for(lambda: 0 < monitoring.total("wvs:task_success:ratio_5m") < 1, "the rule knows of it")
    stored = 'ALERTS{alertname="WVSDeadTasks", alertstate="firing", op="set_current"}'
    monitoring.wait_for(lambda: monitoring.total(stored) == 1, "the alert among the metrics")


def test_grafana_may_read_through_vmauth_and_nothing_else(monitoring: Monitoring) -> None:
    with httpx.Client(base_url=monitoring.url("vmauth"), trust_env=False) as client:
        assert client.get("/api/v1/query", params={"query": "up"}).status_code == httpx.codes.UNAUTHORIZED
        client.auth = httpx.BasicAuth("grafana", PASSWORD)
        found = client.get("/api/v1/query", params={"query": "up"})
        assert {series["metric"]["job"] for series in found.json()["data"]["result"]} >= JOBS
        assert client.get("/api/v1/label/job/values").status_code == httpx.codes.OK
        for path in ("write", "import", "import/prometheus", "export", "admin/tsdb/delete_series", "status/tsdb"):
            refused = client.post(f"/api/v1/{path}", content='smuggled{by="grafana"} 1', params={"match[]": "up"})
            assert refused.status_code == httpx.codes.BAD_REQUEST, path
        assert client.get("/internal/resetRollupResultCache").status_code == httpx.codes.BAD_REQUEST
    assert monitoring.query("smuggled") == []


def test_wvsctl_answers_from_what_was_stored(stack: StackOnDisk, monitoring: Monitoring) -> None:
    succeeded = 'wvs_task_total{status="SUCCEEDED"}'
    before = monitoring.total(succeeded)
    new_snapshot(stack, "counted")
    monitoring.wait_for(lambda: monitoring.total(succeeded) >= before + 2, "both tasks are counted")
    arguments = ["obs", "summary", "--prometheus-url", monitoring.url("vmsingle"), "--json"]
    answer = subprocess.run([sys.executable, "-m", "wvsctl", *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert 0 < json.loads(answer.stdout)["task_success_rate"] <= 1

"""How long a task waits on an idle system: from the commit that accepts it to RUNNING (SPEC §6, "within milliseconds").

Against a running stack (its address and database from the environment or `.stack/env`), or with `--in-process` around
one worker thread in this process. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles

import django
import httpx
import psycopg

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".stack" / "env"
GOAL_P50_MS, GOAL_P99_MS = 10.0, 50.0
WARM_UP = 10
LIMIT = 30.0

# The commit's own time where the server keeps it, else the insert's, which is a little earlier: never flattering.
_WAITS = """
SELECT EXTRACT(EPOCH FROM t.started_at - {accepted})::float8 * 1000
FROM tasks t JOIN audit a ON a.event_id = (SELECT min(event_id) FROM audit WHERE task_id = t.task_id)
WHERE t.task_id = ANY(%s) AND t.attempt = 1
"""


def setting(name: str) -> str:
    """From the environment, else from the running stack's file. Exits naming what is missing."""
    if name in os.environ:
        return os.environ[name]
    lines = ENV_FILE.read_text().splitlines() if ENV_FILE.exists() else []
    for line in lines:
        key, _, value = line.removeprefix("export ").partition("=")
        if key == name:
            return value.strip("'\"")
    sys.exit(f"{name} is not set and {ENV_FILE} does not give it: start the stack with `make up`")


def pause() -> None:
    """Let everything fall asleep again: the wake-up of an idle system is what is measured."""
    time.sleep(random.uniform(0.02, 0.12))


# — against a running stack —


def measure_stack(runs: int) -> tuple[list[float], str]:
    """Milliseconds of each run, and what they are."""
    with httpx.Client(base_url=setting("WVS_API_URL"), timeout=LIMIT) as api:
        wsid = f"bench-{uuid.uuid4().hex[:12]}"
        wait_for(api, post(api, "/v1/workspaces", {"wsid": wsid, "owner": "benchmark"})["init_task_id"])
        try:
            tasks = [snapshot(api, wsid) for _ in range(WARM_UP + runs)][WARM_UP:]
        finally:
            clean_up(api, wsid)
    return read_waits(tasks)


def post(api: httpx.Client, path: str, body: dict[str, str]) -> dict[str, str]:
    """One accepted write."""
    answer = api.post(path, json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
    answer.raise_for_status()
    accepted: dict[str, str] = answer.json()
    return accepted


def wait_for(api: httpx.Client, task_id: str) -> None:
    """Until the task is finished; exits if it did not succeed."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        task = api.get(f"/v1/tasks/{task_id}", params={"wait": 5}).raise_for_status().json()
        if task["status"] == "SUCCEEDED":
            return
        if task["status"] in ("DEAD", "CANCELED"):
            sys.exit(f"{task_id} is {task['status']}: {task['error']}")
    sys.exit(f"{task_id} did not end within {LIMIT:g} s")


def snapshot(api: httpx.Client, wsid: str) -> str:
    """One snapshot of an empty tree, begun while nothing else is to be done."""
    pause()
    task_id = post(api, f"/v1/workspaces/{wsid}/snapshots", {})["task_id"]
    wait_for(api, task_id)
    return task_id


def clean_up(api: httpx.Client, wsid: str) -> None:
    """Drop the snapshots and disable the workspace."""
    while items := api.get(f"/v1/workspaces/{wsid}/snapshots", params={"limit": 100}).json()["items"]:
        for item in items:
            path = f"/v1/workspaces/{wsid}/snapshots/{item['snapshot_id']}"
            answer = api.delete(path, headers={"Idempotency-Key": uuid.uuid4().hex}).raise_for_status()
            wait_for(api, answer.json()["task_id"])
    api.delete(f"/v1/workspaces/{wsid}").raise_for_status()


def read_waits(tasks: list[str]) -> tuple[list[float], str]:
    """From the table, by PostgreSQL's clock."""
    with psycopg.connect(setting("WVS_DB_DSN"), options="-c search_path=wvs") as connection:
        row = connection.execute("SHOW track_commit_timestamp").fetchone()
        exact = row is not None and row[0] == "on"
        accepted = "pg_xact_commit_timestamp(a.xmin)" if exact else "t.created_at"
        waits = [wait for (wait,) in connection.execute(_WAITS.format(accepted=accepted), [tasks])]
    return waits, f"{'commit of the POST' if exact else 'insert by the POST'} → started_at, read from the table"


# — in this process —


def measure_in_process(runs: int) -> tuple[list[float], str]:
    """Milliseconds from the commit to the executor's being called, when RUNNING is committed already."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wvs_project.settings")
    os.environ.setdefault("WVS_SECRET_KEY", "for-a-benchmark-only")
    os.environ.setdefault("EXECUTOR_ADDRS", "local")
    sys.path.insert(0, str(ROOT))
    django.setup()
    # Models can be imported only after the set-up.
    in_process = importlib.import_module("benchmarks.in_process")
    with in_process.serving() as accept_and_run:
        waits = [run_once(accept_and_run) for _ in range(WARM_UP + runs)]
    return waits[WARM_UP:], "commit → the executor is called, in this process"


def run_once(accept_and_run: Callable[[], float]) -> float:
    """One task, begun while nothing else is to be done."""
    pause()
    return accept_and_run() * 1000


def report(waits: list[float], what: str, *, as_json: bool) -> bool:
    """Print the numbers; whether they meet the goal."""
    cuts = quantiles(waits, n=100, method="inclusive")
    numbers = {
        "runs": len(waits),
        "measured": what,
        "p50_ms": round(cuts[49], 2),
        "p99_ms": round(cuts[98], 2),
        "max_ms": round(max(waits), 2),
        "goal": {"p50_ms": GOAL_P50_MS, "p99_ms": GOAL_P99_MS},
        "met": cuts[49] <= GOAL_P50_MS and cuts[98] <= GOAL_P99_MS,
    }
    if as_json:
        print(json.dumps(numbers))
    else:
        print(f"{what}, {len(waits)} runs on an idle system")
        print(f"  p50 {cuts[49]:6.2f} ms   (goal {GOAL_P50_MS:g})")
        print(f"  p99 {cuts[98]:6.2f} ms   (goal {GOAL_P99_MS:g})")
        print(f"  max {max(waits):6.2f} ms")
    return bool(numbers["met"])


def main() -> int:
    """Exit code 0: the goal is met; 1: it is not."""
    parser = argparse.ArgumentParser(description="How long an accepted task waits on an idle system.")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument(
        "--in-process", action="store_true", help="one worker thread here, an executor that does nothing"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    arguments = parser.parse_args()
    measure = measure_in_process if arguments.in_process else measure_stack
    waits, what = measure(arguments.runs)
    return 0 if report(waits, what, as_json=arguments.json) else 1


if __name__ == "__main__":
    sys.exit(main())

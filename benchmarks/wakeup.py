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
from collections.abc import Callable
from statistics import quantiles

import django
import psycopg

from benchmarks.stack import ROOT, Client, setting

GOAL_P50_MS, GOAL_P99_MS = 10.0, 50.0
WARM_UP = 10

# The commit's own time where the server keeps it, else the insert's, which is a little earlier: never flattering.
_WAITS = """
SELECT EXTRACT(EPOCH FROM t.started_at - {accepted})::float8 * 1000
FROM tasks t JOIN audit a ON a.event_id = (SELECT min(event_id) FROM audit WHERE task_id = t.task_id)
WHERE t.task_id = ANY(%s) AND t.attempt = 1
"""


def pause() -> None:
    """Let everything fall asleep again: the wake-up of an idle system is what is measured."""
    time.sleep(random.uniform(0.02, 0.12))


# — against a running stack —


def measure_stack(runs: int) -> tuple[list[float], str]:
    """Milliseconds of each run, and what they are."""
    api = Client(setting("WVS_API_URL"))
    wsid = api.workspace()
    try:
        tasks = [snapshot(api, wsid) for _ in range(WARM_UP + runs)][WARM_UP:]
    finally:
        api.clean_up(wsid)
    return read_waits(tasks)


def snapshot(api: Client, wsid: str) -> str:
    """One snapshot of an empty tree, begun while nothing else is to be done."""
    pause()
    task_id = api.post(f"/v1/workspaces/{wsid}/snapshots")["task_id"]
    api.succeeded(task_id)
    return task_id


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

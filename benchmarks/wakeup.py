"""How long a task waits for a worker: from the commit that accepts it to RUNNING (SPEC §6, "within milliseconds").

Idle, and while other workspaces take half of what the stack can do. By itself it measures a running stack (its address
and database from the environment or `.stack/env`), or with `--in-process` one worker thread in this process.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import django
import psycopg

from benchmarks.callers import Paced, require_alive
from benchmarks.report import print_rows
from benchmarks.rows import Row, Spread, at_most
from benchmarks.site import Site
from benchmarks.stack import ROOT, Client, setting

GOAL: Final = at_most(p50=10.0, p99=50.0)
WARM_UP: Final = 10
_LOADERS: Final = 4
_PULSE: Final = 0.01

# The commit's own time where the server keeps it, else the insert's, which is a little earlier: never flattering.
_WAITS: Final = """
SELECT EXTRACT(EPOCH FROM t.started_at - {accepted})::float8 * 1000
FROM tasks t JOIN audit a ON a.event_id = (SELECT min(event_id) FROM audit WHERE task_id = t.task_id)
WHERE t.task_id = ANY(%s) AND t.attempt = 1
"""


def rows(site: Site) -> Iterator[Row]:
    """Idle, then at half load."""
    runs = site.size(300, 3)
    api = site.client()
    yield measure_stack(api, site.dsn, site.size(WARM_UP, 1), runs, "idle", goal=True)
    with half_load(site) as rate:
        row = measure_stack(api, site.dsn, site.size(WARM_UP, 1), runs, "at half load")
    yield dataclasses.replace(row, notes={**row.notes, "snapshots a second meanwhile": rate})


@contextmanager
def half_load(site: Site) -> Iterator[float]:
    """While inside, other workspaces make half as many snapshots a second as they could; that rate."""
    api = site.client()
    wsids = [api.workspace() for _ in range(site.size(_LOADERS, 1))]
    over = threading.Event()
    loaders = [Paced(site.environment["WVS_API_URL"], wsid, over) for wsid in wsids]
    for loader in loaders:
        loader.start()
    seconds = wait_for_some(loaders, site.size(10.0, 0.1))  # flat out
    most = sum(loader.made for loader in loaders) / seconds
    for loader in loaders:
        loader.interval = 2 * len(loaders) / most
    try:
        yield most / 2
    finally:
        over.set()
        for loader in loaders:
            loader.join()
        for wsid in wsids:
            api.clean_up(wsid)


def wait_for_some(loaders: Sequence[Paced], least: float) -> float:
    """Seconds that passed: at least that many, and until each has made one."""
    began = time.monotonic()
    time.sleep(least)
    while not all(loader.made for loader in loaders):
        require_alive(loaders)
        time.sleep(_PULSE)
    return time.monotonic() - began


def pause() -> None:
    """Let everything fall asleep again: the wake-up of an idle system is what is measured."""
    time.sleep(random.uniform(0.02, 0.12))


# — against a running stack —


def measure_stack(api: Client, dsn: str, warm_up: int, runs: int, how: str, *, goal: bool = False) -> Row:
    """Snapshots of an empty tree, each begun while nothing else of this client is to be done."""
    wsid = api.workspace()
    try:
        tasks = [snapshot(api, wsid) for _ in range(warm_up + runs)][warm_up:]
    finally:
        api.clean_up(wsid)
    waits, what = read_waits(dsn, tasks)
    return Row(
        f"POST committed → RUNNING, {how}", "ms", Spread.of(waits), must=GOAL if goal else (), notes={"is": what}
    )


def snapshot(api: Client, wsid: str) -> str:
    """One."""
    pause()
    task_id = api.post(f"/v1/workspaces/{wsid}/snapshots")["task_id"]
    api.succeeded(task_id)
    return task_id


def read_waits(dsn: str, tasks: list[str]) -> tuple[list[float], str]:
    """From the table, by PostgreSQL's clock."""
    with psycopg.connect(dsn, options="-c search_path=wvs") as connection:
        row = connection.execute("SHOW track_commit_timestamp").fetchone()
        exact = row is not None and row[0] == "on"
        accepted = "pg_xact_commit_timestamp(a.xmin)" if exact else "t.created_at"
        waits = [wait for (wait,) in connection.execute(_WAITS.format(accepted=accepted), [tasks])]
    return waits, f"{'commit of the POST' if exact else 'insert by the POST'} → started_at, read from the table"


# — in this process —


def measure_in_process(runs: int) -> Row:
    """From the commit to the executor's being called, when RUNNING is committed already."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wvs_project.settings")
    os.environ.setdefault("WVS_SECRET_KEY", "for-a-benchmark-only")
    os.environ.setdefault("EXECUTOR_ADDRS", "local")
    sys.path.insert(0, str(ROOT))
    django.setup()
    # Models can be imported only after the set-up.
    in_process = importlib.import_module("benchmarks.in_process")
    with in_process.serving() as accept_and_run:
        waits = [run_once(accept_and_run) for _ in range(WARM_UP + runs)]
    return Row("commit → the executor is called, in one process", "ms", Spread.of(waits[WARM_UP:]), must=GOAL)


def run_once(accept_and_run: Callable[[], float]) -> float:
    """One task, begun while nothing else is to be done."""
    pause()
    return accept_and_run() * 1000


def main() -> int:
    """Exit code 0: the goal is met; 1: it is not."""
    parser = argparse.ArgumentParser(description="How long an accepted task waits on an idle system.")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument(
        "--in-process", action="store_true", help="one worker thread here, an executor that does nothing"
    )
    arguments = parser.parse_args()
    if arguments.in_process:
        return print_rows([measure_in_process(arguments.runs)])
    api = Client(setting("WVS_API_URL"))
    return print_rows([measure_stack(api, setting("WVS_DB_DSN"), WARM_UP, arguments.runs, "idle", goal=True)])


if __name__ == "__main__":
    sys.exit(main())

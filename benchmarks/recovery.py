"""How soon a killed worker's task is rescued, and how soon the clone of a canceled one is dead.

The task to rescue waits for an agent that never answers. What counts is from the SIGKILL to the row's saying so, and
from the POST …:cancel to the end of the `juicefs clone` that ran for it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import psutil
import psycopg

from benchmarks.rows import Row, Spread, at_most
from benchmarks.site import Site
from benchmarks.stack import Client, Failed
from benchmarks.trees import plant
from wvs_project.stack.orphans import is_over

_LIMIT: Final = 60.0
_PULSE: Final = 0.002
_STATUS: Final = "SELECT status, error ->> 'reason' FROM tasks WHERE task_id = %s"
_TRIES: Final = 5

T = TypeVar("T")


def rows(site: Site) -> Iterator[Row]:
    """Rescue, wherever the workspaces lie; cancel, where a clone is a process."""
    rescues = [rescue(site) for _ in range(site.size(15, 1))]
    yield Row("worker killed → its task is rescued", "s", Spread.of(rescues), must=at_most(p50=1.0))
    if not site.has_juicefs:
        return
    entries = site.size(10_000, 1_000)
    cancels = cancel_all(site, entries, site.size(15, 1))
    what = f"cancel → the clone of {entries:,} entries is dead"
    yield Row(what, "s", Spread.of(cancels), must=at_most(max=1.0))


def rescue(site: Site) -> float:
    """Seconds from the worker's death to the row's WORKER_LOST."""
    api, worker = site.client(), site.program("worker")
    wsid = api.workspace()
    with (
        silent_agent(site.mount / wsid),
        psycopg.connect(site.dsn, autocommit=True, options="-c search_path=wvs") as connection,
    ):
        task_id = api.post(f"/v1/workspaces/{wsid}/snapshots")["task_id"]

        def row() -> tuple[str, str | None]:
            found = connection.execute(_STATUS, [task_id]).fetchone()
            assert found is not None
            return str(found[0]), found[1]

        _until(lambda: row()[0] == "RUNNING", "it runs")
        assert worker.pid is not None
        os.killpg(worker.pid, signal.SIGKILL)
        began = time.monotonic()
        _until(lambda: row() == ("FAILED", "WORKER_LOST"), "it is rescued")
        took = time.monotonic() - began
        worker.stop()
        worker.start()
        _cancel(api, task_id)
    api.ended(task_id)
    api.clean_up(wsid)
    return took


@contextmanager
def silent_agent(workspace: Path) -> Iterator[None]:
    """While inside, an agent is attached there that never answers."""
    with (workspace / ".wvs" / "agent.lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cancel_all(site: Site, entries: int, runs: int) -> list[float]:
    """Seconds of each. The agent stands for nothing: nobody is attached."""
    api = site.client()
    wsid = api.workspace()
    plant(site.mount / wsid / "live" / "initial", entries)
    found = [_cancel_one(site, api, wsid) for _ in range(runs)]
    api.clean_up(wsid)
    return found


def _cancel_one(site: Site, api: Client, wsid: str) -> float:
    """Once more, a few times, if the clone was over before it could be canceled."""
    for _ in range(_TRIES):
        worker = psutil.Process(site.program("worker").pid)
        task_id = api.post(f"/v1/workspaces/{wsid}/snapshots")["task_id"]
        clone = _until(lambda worker=worker: _clone_of(worker), "a clone runs")  # type: ignore[misc]
        began = time.monotonic()
        _cancel(api, task_id)
        _until(lambda clone=clone: is_over(clone), "the clone is dead")  # type: ignore[misc]
        took = time.monotonic() - began
        if api.ended(task_id)["status"] == "CANCELED":
            return took
    raise Failed("every clone was over before it could be canceled: the tree is too small")


def _clone_of(worker: psutil.Process) -> psutil.Process | None:
    with suppress(psutil.Error):
        for child in worker.children(recursive=True):
            with suppress(psutil.Error):
                if child.cmdline()[1:2] == ["clone"]:
                    return child
    return None


def _cancel(api: Client, task_id: str) -> None:
    # 409: it was over already.
    answer = api.http.post(f"/v1/tasks/{task_id}:cancel")
    if not answer.is_success and answer.status_code != 409:
        raise Failed(f"cancel of {task_id}: {answer.text}")


def _until(condition: Callable[[], T], what: str) -> T:
    end = time.monotonic() + _LIMIT
    while not (answer := condition()):
        if time.monotonic() > end:
            raise Failed(f"not within {_LIMIT:g} s: {what}")
        time.sleep(_PULSE)
    return answer

"""Who clones is killed, again and again: how long until the task is given up by them, and does everything end well?

`python -m tests.chaos.kills` with WVS_KILLS (100) prints the numbers; the tests do it a few times. It kills workers, or
with WVS_CHAOS_EXECUTORS as many executors that are services of their own.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from statistics import quantiles
from uuid import uuid4

import httpx
import psutil

from tests.chaos import executions, verdict
from tests.chaos.base import Base
from tests.chaos.fleet import Fleet, running_fleet
from tests.chaos.load import make_workspaces
from tests.servers import clear_killed_runs
from wvs_project.stack.errors import StackError
from wvs_project.stack.waiting import wait_until

FILES = 1500
"""So many that a clone takes long enough to be killed in."""
_CALL_SECONDS = 30.0
_CLONE_SECONDS = 30.0
_END_SECONDS = 120.0
_PULSE = 0.002


@dataclass
class Kills:
    """What came of them. Times are seconds from the kill to the moment when the row was seen to be RUNNING no more."""

    rescued_after: list[float] = field(default_factory=list)
    missed: int = 0
    """Clones that were over before they could be killed."""
    ends: dict[str, int] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


def kill_in_mid_clone(
    base: Base,
    *,
    kills: int,
    workspaces: int,
    executors: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Kills:
    """So many kills, one after the other, each of the process that clones; then peace and the verdict."""
    done = Kills()
    running = running_fleet(base, workers=3, schedulers=2, executors=executors, WORKER_POLL_INTERVAL="1s")
    with running as fleet, _api(fleet) as api:
        wsids = fleet.executors.spread("kill-", workspaces)
        make_workspaces(fleet, wsids)
        for wsid in wsids:
            _fill(fleet, wsid)
        tasks = []
        while len(done.rescued_after) < kills:
            fleet.wait_ready()
            wsid = wsids[(len(done.rescued_after) + done.missed) % len(wsids)]
            task_id = _post(api, f"/workspaces/{wsid}/snapshots")
            tasks.append(task_id)
            after = _kill_cloner(fleet, task_id)
            if after is None:
                done.missed += 1
            else:
                done.rescued_after.append(after)
                say(f"{len(done.rescued_after)}: {after:.3f} s")
            fleet.wait_ended(task_id, _END_SECONDS)
        fleet.wait_settled(_END_SECONDS)
        _fill_in(done, fleet, tasks)
    return done


def _api(fleet: Fleet) -> httpx.Client:
    return httpx.Client(base_url=fleet.api_url, timeout=_CALL_SECONDS, trust_env=False)


def _post(api: httpx.Client, path: str) -> str:
    answer = api.post(path, json={}, headers={"Idempotency-Key": uuid4().hex}).raise_for_status().json()
    return str(answer["task_id"])


def _fill(fleet: Fleet, wsid: str) -> None:
    tree = fleet.base.ws / wsid / "current"
    for number in range(FILES):
        directory = tree / f"d{number % 30}"
        directory.mkdir(exist_ok=True)
        (directory / f"f{number}").touch()


def _kill_cloner(fleet: Fleet, task_id: str) -> float | None:
    """Kill the process that clones for this task; seconds until its row is not RUNNING. None: it was too quick."""
    cloner = _cloner(fleet, task_id)
    if cloner is None:
        return None
    killed_at = time.monotonic()
    fleet.keeper.send(cloner, SIGKILL)
    ((fence,),) = fleet.query("SELECT fence FROM wvs.tasks WHERE task_id = %s", task_id)

    def rescued() -> bool:
        rows = fleet.query(
            "SELECT 1 FROM wvs.tasks WHERE task_id = %s AND status = 'RUNNING' AND fence = %s", task_id, fence
        )
        return not rows

    wait_until(rescued, limit=_END_SECONDS, what=f"the rescue of {task_id}")
    return time.monotonic() - killed_at


def _cloner(fleet: Fleet, task_id: str) -> int | None:
    """The process whose attempt at this task is cloning now: its child's command line says so, or its staging."""
    until = time.monotonic() + _CLONE_SECONDS
    while time.monotonic() < until:
        for name in fleet.keeper.names(fleet.cloners):
            pid = fleet.keeper.pid(name)
            if pid is not None and _is_cloning(pid, task_id):
                return pid
        if fleet.query("SELECT 1 FROM wvs.tasks WHERE task_id = %s AND ended_at IS NOT NULL", task_id):
            return None
        time.sleep(_PULSE)
    raise StackError(f"nobody cloned for {task_id}")


def _is_cloning(pid: int, task_id: str) -> bool:
    """A clone child of its own, or (without one) a file open for writing below the attempt's staging."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if any(_clones_for(child, task_id) for child in process.children()):
            return True
        descriptors = Path(f"/proc/{pid}/fd").iterdir()
        with suppress(OSError):
            return any(task_id in str(descriptor.readlink()) for descriptor in descriptors)
    return False


def _clones_for(child: psutil.Process, task_id: str) -> bool:
    command = child.cmdline()
    return command[1:2] == ["clone"] and any(task_id in part for part in command)


def _fill_in(done: Kills, fleet: Fleet, tasks: list[str]) -> None:
    rows = fleet.query("SELECT status, attempt FROM wvs.tasks WHERE task_id = ANY(%s)", tasks)
    for status, attempt in rows:
        done.ends[status] = done.ends.get(status, 0) + 1
        done.attempts[attempt] = done.attempts.get(attempt, 0) + 1
    holds = executions.read_holds(fleet.locks_log, fleet.keeper.killed)
    done.violations = [
        *(f"I9: {first} and {second}" for first, second in executions.overlaps(holds)),
        *verdict.violations(fleet, tasks),
    ]


def percentiles(seconds: list[float]) -> Iterator[tuple[str, float]]:
    """By name."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    yield from (("p50", cuts[49]), ("p99", cuts[98]), ("max", max(seconds)))


def main() -> int:
    """Exit codes: 0 all well, 1 not."""
    kills = int(os.environ.get("WVS_KILLS") or 100)
    executors = int(os.environ.get("WVS_CHAOS_EXECUTORS") or 0)
    clear_killed_runs()
    base = Base()
    try:
        base.start()
        done = kill_in_mid_clone(base, kills=kills, workspaces=10, executors=executors, say=print)
    finally:
        base.stop()
    said = ", ".join(f"{name} {value:.3f} s" for name, value in percentiles(done.rescued_after))
    print(f"{len(done.rescued_after)} kills in mid-clone ({done.missed} clones were too quick); rescued after {said}")
    print(f"ends {done.ends}, attempts {done.attempts}, {len(done.violations)} violations")
    for violation in done.violations:
        print(violation)
    return 1 if done.violations or set(done.ends) != {"SUCCEEDED"} else 0


if __name__ == "__main__":
    sys.exit(main())

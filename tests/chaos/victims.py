"""Faults of processes: killed, stopped for a while, armed with a failpoint. They need signals only."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Final

import psutil
import psycopg

from executor.failpoints import ENGINE_POINTS, EXECUTOR_POINTS, UPKEEP_POINTS
from tests.chaos import agents, executions
from tests.chaos.fleet import Fleet

WORKER_POINTS: Final = ENGINE_POINTS + EXECUTOR_POINTS
_LOOK_SECONDS: Final = 5.0
_PULSE: Final = 0.005


class Processes:
    """What can happen to the processes of a fleet. Each method is one fault; True if there was somebody to harm."""

    def __init__(self, fleet: Fleet, rng: Random, stopping: threading.Event) -> None:
        self._fleet = fleet
        self._keeper = fleet.keeper
        self._rng = rng
        self._stopping = stopping
        self._worker_points = _for_ever(WORKER_POINTS, rng)
        self._upkeep_points = _for_ever(UPKEEP_POINTS, rng)
        self.armed: Counter[str] = Counter()
        """Failpoints that a process was started with."""

    def catalogue(self) -> list[str]:
        """The names of the methods that are faults, in a fixed order."""
        clone = ["kill_clone_child"] if self._fleet.base.volume else []
        return [
            "kill_api",
            "kill_api_child",
            "kill_worker",
            "kill_busy_worker",
            "kill_leader",
            "kill_agent",
            *clone,
            "stop_worker",
            "stop_worker_until_rescued",
            "stop_leader",
            "stop_agent",
            "failpoint_kills_worker",
            "failpoint_kills_worker",
            "failpoint_kills_worker",
            "failpoint_kills_scheduler",
            "failpoint_raises_in_worker",
        ]

    def kill_api(self) -> bool:
        return self._kill("api")

    def kill_api_child(self) -> bool:
        """gunicorn's master starts another."""
        return self._kill_one([child.pid for child in self._children("api")])

    def kill_worker(self) -> bool:
        return self._kill(self._some("worker-"))

    def kill_busy_worker(self) -> bool:
        """In the middle of an execution."""
        return self._kill(self._busy_worker())

    def kill_leader(self) -> bool:
        return self._kill(self._leader())

    def kill_agent(self) -> bool:
        names = self._keeper.names(agents.PREFIX)
        return bool(names) and self._kill(self._rng.choice(names))

    def kill_clone_child(self) -> bool:
        """`juicefs clone` below a worker."""
        until = time.monotonic() + _LOOK_SECONDS
        while time.monotonic() < until and not self._stopping.wait(_PULSE):
            if self._kill_one(self._clones()):
                return True
        return False

    def stop_worker(self) -> bool:
        """SIGSTOP, for less than anybody waits for."""
        return self._stop(self._some("worker-"), self._rng.uniform(0.2, 3.0))

    def stop_leader(self) -> bool:
        return self._stop(self._leader(), self._rng.uniform(0.2, 4.0))

    def stop_agent(self) -> bool:
        """It may not answer in time, or its lease may end meanwhile."""
        names = self._keeper.names(agents.PREFIX)
        return bool(names) and self._stop(self._rng.choice(names), self._rng.uniform(0.2, 7.0))

    def stop_worker_until_rescued(self) -> bool:
        """As if it hung past its deadline in the middle of an execution: stopped, its guards ended, its tasks run by
        others; then it goes on.
        """
        name = self._busy_worker()
        pid = self._keeper.signal(name, signal.SIGSTOP) if name else None
        if pid is None:
            return False
        try:
            with suppress(psycopg.OperationalError):
                self._fleet.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wvs-guard' "
                    "AND datname = current_database()"
                )
            self._stopping.wait(self._rng.uniform(1.0, 4.0))
        finally:
            self._keeper.send(pid, signal.SIGCONT)
        return True

    def failpoint_kills_worker(self) -> bool:
        """It dies at that point of the first task that comes there."""
        self._arm(self._some("worker-"), next(self._worker_points), "kill")
        return True

    def failpoint_kills_scheduler(self) -> bool:
        """It dies in its sweep."""
        self._arm(self._leader() or "scheduler-0", next(self._upkeep_points), "kill")
        return True

    def failpoint_raises_in_worker(self) -> bool:
        """Every task that comes there fails, for a while."""
        name = self._some("worker-")
        self._arm(name, next(self._worker_points), "raise")
        self._stopping.wait(self._rng.uniform(2.0, 5.0))
        return self._kill(name)

    def _arm(self, name: str, point: str, action: str) -> None:
        self.armed[f"{point}={action}"] += 1
        self._keeper.restart_with(name, WVS_FAILPOINTS=self._fleet.failpoints(f"{point}={action}"))

    def _some(self, prefix: str) -> str:
        return self._rng.choice(self._keeper.names(prefix))

    def _busy_worker(self) -> str | None:
        """One that holds a workspace's lock at this moment."""
        until = time.monotonic() + _LOOK_SECONDS
        while time.monotonic() < until and not self._stopping.wait(_PULSE):
            busy = executions.holding_now(self._fleet.locks_log)
            for name in self._keeper.names("worker-"):
                if self._keeper.pid(name) in busy:
                    return name
        return None

    def _kill(self, name: str | None) -> bool:
        return name is not None and self._keeper.signal(name, signal.SIGKILL) is not None

    def _kill_one(self, pids: list[int]) -> bool:
        if pids:
            self._keeper.send(self._rng.choice(pids), signal.SIGKILL)
        return bool(pids)

    def _stop(self, name: str | None, seconds: float) -> bool:
        pid = self._keeper.signal(name, signal.SIGSTOP) if name else None
        if pid is None:
            return False
        self._stopping.wait(seconds)
        self._keeper.send(pid, signal.SIGCONT)
        return True

    def _leader(self) -> str | None:
        """The scheduler that was the last to say that it leads."""
        said = {
            name: max((str(line["ts"]) for line in self._fleet.log_lines(name, "scheduler.leads")), default="")
            for name in self._keeper.names("scheduler-")
        }
        return max(said, key=said.__getitem__) if any(said.values()) else None

    def _clones(self) -> list[int]:
        found = []
        for name in self._keeper.names("worker-"):
            for child in self._children(name):
                with suppress(psutil.Error):
                    if child.cmdline()[1:2] == ["clone"]:
                        found.append(child.pid)
        return found

    def _children(self, name: str) -> list[psutil.Process]:
        pid = self._keeper.pid(name)
        with suppress(psutil.Error):
            return psutil.Process(pid).children() if pid else []
        return []


def _for_ever(points: Sequence[str], rng: Random) -> Iterator[str]:
    """Each in its turn, in a new order each time."""
    while True:
        yield from rng.sample(points, len(points))

"""Faults of processes: killed, stopped for a while, armed with a failpoint. They need signals only."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from random import Random
from typing import Final

import psycopg

from executor.failpoints import ENGINE_POINTS, EXECUTOR_POINTS, UPKEEP_POINTS
from tests.chaos import agents
from tests.chaos.aim import WORKERS, Aim, Fault, for_ever, looking
from tests.chaos.fleet import Fleet

WORKER_POINTS: Final = ENGINE_POINTS + EXECUTOR_POINTS


class Processes(Aim):
    """What can happen to the processes of a fleet."""

    def __init__(self, fleet: Fleet, rng: Random, stopping: threading.Event) -> None:
        super().__init__(fleet, rng, stopping)
        self._worker_points = for_ever(ENGINE_POINTS if fleet.executors.count else WORKER_POINTS, rng)
        self._upkeep_points = for_ever(UPKEEP_POINTS, rng)

    def catalogue(self) -> list[Fault]:
        """In a fixed order."""
        clone = [self.kill_clone_child] if self._fleet.base.volume else []
        # Where executors are apart a sweep is their work.
        sweep = [] if self._fleet.executors.count else [self.failpoint_kills_scheduler]
        return [
            self.kill_api,
            self.kill_api_child,
            self.kill_worker,
            self.kill_busy_worker,
            self.kill_leader,
            self.kill_agent,
            *clone,
            self.stop_worker,
            self.stop_worker_until_rescued,
            self.stop_leader,
            self.stop_agent,
            self.failpoint_kills_worker,
            self.failpoint_kills_worker,
            self.failpoint_kills_worker,
            *sweep,
            self.failpoint_raises_in_worker,
        ]

    def kill_api(self) -> bool:
        return self._kill("api")

    def kill_api_child(self) -> bool:
        """gunicorn's master starts another."""
        return self._kill_one([child.pid for child in self._children("api")])

    def kill_worker(self) -> bool:
        return self._kill(self._some(WORKERS))

    def kill_busy_worker(self) -> bool:
        """In the middle of an execution."""
        return self._kill(self._busy_worker())

    def kill_leader(self) -> bool:
        return self._kill(self._leader())

    def kill_agent(self) -> bool:
        names = self._keeper.names(agents.PREFIX)
        return bool(names) and self._kill(self._rng.choice(names))

    def kill_clone_child(self) -> bool:
        """`juicefs clone` below whoever executes."""
        return any(self._kill_one(list(self._clones())) for _ in looking(self._stopping))

    def stop_worker(self) -> bool:
        """SIGSTOP, for less than anybody waits for."""
        return self._stop(self._some(WORKERS), self._rng.uniform(0.2, 3.0))

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
        self._arm(self._some(WORKERS), next(self._worker_points), "kill")
        return True

    def failpoint_kills_scheduler(self) -> bool:
        """It dies in its sweep."""
        self._arm(self._leader() or "scheduler-0", next(self._upkeep_points), "kill")
        return True

    def failpoint_raises_in_worker(self) -> bool:
        """Every task that comes there fails, for a while."""
        name = self._some(WORKERS)
        self._arm(name, next(self._worker_points), "raise")
        self._stopping.wait(self._rng.uniform(2.0, 5.0))
        return self._kill(name)

    def _busy_worker(self) -> str | None:
        """One that executes; where executors are apart, one of those that wait for them."""
        busy = self._busy(self._fleet.cloners)
        return self._some(WORKERS) if busy and self._fleet.executors.count else busy

    def _leader(self) -> str | None:
        """The scheduler that was the last to say that it leads."""
        said = {
            name: max((str(line["ts"]) for line in self._fleet.log_lines(name, "scheduler.leads")), default="")
            for name in self._keeper.names("scheduler-")
        }
        return max(said, key=said.__getitem__) if any(said.values()) else None

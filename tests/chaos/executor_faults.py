"""Faults of executors that are services of their own: of their processes, of their mounts, of the ways to them."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from random import Random
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Final

import psutil

from executor.failpoints import EXECUTOR_POINTS, PRECOPY_POINTS, UPKEEP_POINTS
from tests.chaos.aim import WORKERS, Aim, Fault, for_ever, looking
from tests.chaos.executors import PREFIX, Service, kill_group, own_mount
from tests.chaos.fleet import Fleet
from tests.chaos.outages import Weather

_UNHEARD_SECONDS: Final = 1.5
"""A run looks at its fence each second."""
POINTS: Final = EXECUTOR_POINTS + PRECOPY_POINTS + UPKEEP_POINTS


class ExecutorProcesses(Aim):
    """What can happen to the processes."""

    def __init__(self, fleet: Fleet, rng: Random, stopping: threading.Event) -> None:
        super().__init__(fleet, rng, stopping)
        self._points = for_ever(POINTS, rng)

    def catalogue(self) -> list[Fault]:
        """In a fixed order."""
        clone = [self.kill_executor_in_mid_clone] if self._fleet.base.volume else []
        return [
            self.kill_executor,
            self.kill_busy_executor,
            *clone,
            self.stop_executor,
            self.failpoint_kills_executor,
            self.failpoint_kills_executor,
            self.failpoint_raises_in_executor,
            self.worker_with_another_list,
            self.stop_executor_and_take_it_off_the_list,
        ]

    def kill_executor(self) -> bool:
        return self._kill(self._some(PREFIX))

    def kill_busy_executor(self) -> bool:
        """While it holds a workspace's lock."""
        return self._kill(self._busy(PREFIX))

    def kill_executor_in_mid_clone(self) -> bool:
        """While `juicefs clone` runs below it: the mount goes on with the clone, or is unmounted meanwhile."""
        return any(self._kill(name) for _ in looking(self._stopping) for name in list(self._clones().values())[:1])

    def stop_executor(self) -> bool:
        """SIGSTOP, for longer than a lease."""
        return self._stop(self._some(PREFIX), self._rng.uniform(0.2, 7.0))

    def failpoint_kills_executor(self) -> bool:
        """It dies at that point of the first run that comes there."""
        self._arm(self._some(PREFIX), next(self._points), "kill")
        return True

    def failpoint_raises_in_executor(self) -> bool:
        """Every run that comes there fails, for a while."""
        name = self._some(PREFIX)
        self._arm(name, next(self._points), "raise")
        self._stopping.wait(self._rng.uniform(1.0, 3.0))
        return self._kill(name)

    def worker_with_another_list(self) -> bool:
        """For its next life it knows one executor only, and has it serve what the others are asked to serve too."""
        addr = self._rng.choice(self._fleet.executors.addrs)
        self._keeper.restart_with(self._some(WORKERS), EXECUTOR_ADDRS=addr)
        return True

    def stop_executor_and_take_it_off_the_list(self) -> bool:
        """A busy one stands still, and workers that know only the others take over what it had. Then it goes on, and
        for a while does not hear that nobody waits for it any more: only the fence says so.
        """
        name = self._busy(PREFIX)
        others = [service.addr for service in self._fleet.executors.services if service.name != name]
        pid = self._keeper.signal(name, SIGSTOP) if name and others else None
        if pid is None:
            return False
        (way,) = (service.way for service in self._fleet.executors.services if service.name == name)
        try:
            way.stall()
            for worker in self._keeper.names(WORKERS):
                self._keeper.restart_with(worker, EXECUTOR_ADDRS=",".join(others))
            self._stopping.wait(self._rng.uniform(3.0, 7.0))
        finally:
            self._keeper.send(pid, SIGCONT)
        time.sleep(_UNHEARD_SECONDS)
        way.cut()
        way.heal()
        for worker in self._keeper.names(WORKERS):
            self._kill(worker)
        return True


class ExecutorOutages(Weather):
    """What can happen around them."""

    def catalogue(self) -> list[Fault]:
        """In a fixed order."""
        mounts = [self.kill_own_mount, self.kill_own_mount_child] if self._base.volume else []
        return [self.cut_executor, self.stall_executor, self.refuse_executor, *mounts]

    def rare(self) -> list[Fault]:
        """Faults that take long to get over."""
        return [self.lose_executor]

    def cut_executor(self) -> bool:
        self._some().way.cut()
        return True

    def stall_executor(self) -> bool:
        """Half-open, for less than the time after which a connection is given up."""
        return self._stall(self._some().way, 0.5, 6.0)

    def lose_executor(self) -> bool:
        """Half-open until both sides give the connection up; what was held up comes late."""
        return self._stall(self._some().way, 21.0, 26.0)

    def refuse_executor(self) -> bool:
        return self._refuse(self._some().way)

    def kill_own_mount(self) -> bool:
        """Both processes of a mount that is an executor's own: it has to see that, and mount again."""
        mount = self._own_mount()
        if mount:
            kill_group(mount[0])
        return bool(mount)

    def kill_own_mount_child(self) -> bool:
        """The serving process; the watching one starts another in its place."""
        serving = self._own_mount()[1:]
        for process in serving:
            with suppress(psutil.Error):
                process.send_signal(SIGKILL)
        return bool(serving)

    def _some(self) -> Service:
        return self._rng.choice(self._fleet.executors.services)

    def _own_mount(self) -> list[psutil.Process]:
        """One that is there, or is there again soon."""
        owners = [service.name for service in self._fleet.executors.services if service.owns_mount]
        for _ in looking(self._stopping):
            pid = self._keeper.pid(self._rng.choice(owners)) if owners else None
            if pid is not None and (found := own_mount(pid)):
                return found
        return []

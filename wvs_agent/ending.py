"""Ending a tree of processes: asked first, killed after a grace, nothing left."""

from __future__ import annotations

import contextlib
import signal
import time

from wvs_agent import processes
from wvs_agent.cgroup import Cgroup
from wvs_agent.freezer import Members
from wvs_agent.processes import Process


class Ending:
    """SIGTERM to everything at once, SIGKILL to what is there after the grace, again and again until nothing is.

    Step by step, for callers that have other things to do meanwhile. Somebody must reap, or what is dead is not gone;
    zombies do not count as being there.
    """

    def __init__(self, members: Members, cgroup: Cgroup | None, grace: float) -> None:
        """`members` must find what is in the cgroup too; `grace` in seconds."""
        self._members = members
        self._cgroup = cgroup
        self._end = time.monotonic() + grace
        for process in self._alive():
            _send(process, signal.SIGTERM)
            _send(process, signal.SIGCONT)  # a stopped process hears nothing else

    def step(self) -> bool:
        """Whether all are gone; kills what is there once the grace is over."""
        alive = self._alive()
        if alive and time.monotonic() >= self._end:
            if self._cgroup is not None:
                self._cgroup.kill()
            for process in alive:
                _send(process, signal.SIGKILL)
        return not alive

    def hurry(self) -> None:
        """No more grace."""
        self._end = time.monotonic()

    def _alive(self) -> list[Process]:
        return [process for process in self._members() if not processes.is_dead(process)]


def _send(process: Process, number: int) -> None:
    with contextlib.suppress(PermissionError):
        processes.send(process, number)

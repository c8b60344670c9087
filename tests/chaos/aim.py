"""How a fault finds whom it harms: by name, by what a process does at this moment, by what it logged."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Final

import psutil

from tests.chaos import executions
from tests.chaos.fleet import Fleet

Fault = Callable[[], bool]
"""Does it, and says whether it could be done. It goes by its name."""
WORKERS: Final = "worker-"
_LOOK_SECONDS: Final = 5.0
_PULSE: Final = 0.005


class Aim:
    """What the faults of processes have in common. Signals only."""

    def __init__(self, fleet: Fleet, rng: Random, stopping: threading.Event) -> None:
        self._fleet = fleet
        self._keeper = fleet.keeper
        self._rng = rng
        self._stopping = stopping
        self.armed: Counter[str] = Counter()
        """Failpoints that a process was started with."""

    def _some(self, prefix: str) -> str:
        return self._rng.choice(self._keeper.names(prefix))

    def _arm(self, name: str, point: str, action: str) -> None:
        self.armed[f"{point}={action}"] += 1
        self._keeper.restart_with(name, WVS_FAILPOINTS=self._fleet.failpoints(f"{point}={action}"))

    def _kill(self, name: str | None) -> bool:
        return name is not None and self._keeper.signal(name, signal.SIGKILL) is not None

    def _kill_one(self, pids: list[int]) -> bool:
        if pids:
            self._keeper.send(self._rng.choice(pids), signal.SIGKILL)
        return bool(pids)

    def _stop(self, name: str | None, seconds: float) -> bool:
        """SIGSTOP for so long, or until the storm is over."""
        pid = self._keeper.signal(name, signal.SIGSTOP) if name else None
        if pid is None:
            return False
        self._stopping.wait(seconds)
        self._keeper.send(pid, signal.SIGCONT)
        return True

    def _busy(self, prefix: str) -> str | None:
        """One that holds a workspace's lock at this moment."""
        for _ in looking(self._stopping):
            busy = executions.holding_now(self._fleet.locks_log)
            for name in self._keeper.names(prefix):
                if self._keeper.pid(name) in busy:
                    return name
        return None

    def _clones(self) -> dict[int, str]:
        """Every `juicefs clone` of this moment, and who started it."""
        found = {}
        for name in self._keeper.names(self._fleet.cloners):
            for child in self._children(name):
                with suppress(psutil.Error):
                    if child.cmdline()[1:2] == ["clone"]:
                        found[child.pid] = name
        return found

    def _children(self, name: str) -> list[psutil.Process]:
        pid = self._keeper.pid(name)
        with suppress(psutil.Error):
            return psutil.Process(pid).children() if pid else []
        return []


def looking(stopping: threading.Event) -> Iterator[None]:
    """A few seconds of looking, again and again."""
    until = time.monotonic() + _LOOK_SECONDS
    while time.monotonic() < until and not stopping.wait(_PULSE):
        yield


def for_ever(points: Sequence[str], rng: Random) -> Iterator[str]:
    """Each in its turn, in a new order each time."""
    while True:
        yield from rng.sample(points, len(points))

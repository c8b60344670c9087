"""The storm: two lanes of faults at once, in the order that a seed gives."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Final

from tests.chaos.agents import Agents
from tests.chaos.aim import Fault
from tests.chaos.executor_faults import ExecutorOutages, ExecutorProcesses
from tests.chaos.fleet import Fleet
from tests.chaos.outages import Outages
from tests.chaos.victims import Processes

_QUIET_BETWEEN: Final = (0.3, 1.5)
_RARE_EACH: Final = 60.0
"""Seconds between faults that take long to get over."""
_FAULT_OVERDUE: Final = 120.0


class Storm:
    """Two lanes of faults, each in the order that the seed gives: processes in one, all else in the other.

    Where executors are apart, their faults come first: a short storm is about them.
    """

    def __init__(self, fleet: Fleet, agents: Agents, seed: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._agents = agents
        self._stopping = threading.Event()
        self._rngs = (Random(f"{seed} processes"), Random(f"{seed} outages"))
        self._processes: list[Processes | ExecutorProcesses] = [Processes(fleet, self._rngs[0], self._stopping)]
        self._outages: list[Outages | ExecutorOutages] = [Outages(fleet, self._rngs[1], self._stopping)]
        if fleet.executors.count:
            self._processes.insert(0, ExecutorProcesses(fleet, self._rngs[0], self._stopping))
            self._outages.insert(0, ExecutorOutages(fleet, self._rngs[1], self._stopping))
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []

    def rage(self, seconds: float) -> None:
        """Faults for so long. Outages are made by this thread: it outlives what it starts."""
        until = time.monotonic() + seconds
        other = threading.Thread(target=self._lane_of_processes, args=(until,), daemon=True)
        other.start()
        rare_at = time.monotonic() + _RARE_EACH / 3
        rare = _bags([[fault for lane in self._outages for fault in lane.rare()]], self._rngs[1])
        for fault in _bags([lane.catalogue() for lane in self._outages], self._rngs[1]):
            if not self._wait(self._rngs[1], until):
                break
            if time.monotonic() > rare_at:
                rare_at += _RARE_EACH
                for one in islice(rare, 1):
                    self._do(one)
            self._do(fault)
            self._agents.look()
        self._stopping.set()
        other.join(_FAULT_OVERDUE)

    def _lane_of_processes(self, until: float) -> None:
        for fault in _bags([lane.catalogue() for lane in self._processes], self._rngs[0]):
            if not self._wait(self._rngs[0], until):
                return
            try:
                self._do(fault)
            except Exception as error:
                self.failures.append(f"the fault {fault.__name__} failed: {error!r}")

    def _wait(self, rng: Random, until: float) -> bool:
        pause = rng.uniform(*_QUIET_BETWEEN)
        return not self._stopping.wait(max(0.0, min(pause, until - time.monotonic()))) and time.monotonic() < until

    @property
    def armed(self) -> Counter[str]:
        """Failpoints that processes were started with."""
        return sum((lane.armed for lane in self._processes), Counter())

    def _do(self, fault: Fault) -> None:
        begun = time.monotonic()
        done, name = fault(), fault.__name__
        self.done[name] += done
        self._say(f"  {name}{'' if done else ' (nobody there)'} {time.monotonic() - begun:.1f} s")


def _bags(catalogues: Sequence[Sequence[Fault]], rng: Random) -> Iterator[Fault]:
    """Of each catalogue each fault, in a new order; then of all together, again and again. Ends if all is empty."""
    everything = [fault for catalogue in catalogues for fault in catalogue]
    for catalogue in catalogues[:-1]:
        yield from rng.sample(catalogue, len(catalogue))
    while everything:
        yield from rng.sample(everything, len(everything))

"""Keeps processes alive as an orchestrator would: what dies is started again, and its death is written down."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Final

from wvs_project.stack.config import SOURCES
from wvs_project.stack.processes import Child, Command
from wvs_project.stack.waiting import wait_until

_PULSE: Final = 0.02
_SHORT_LIFE: Final = 3.0
_AGAIN_AFTER: Final = 1.0
_START_SECONDS: Final = 60.0


@dataclass
class Unit:
    """One process of a fleet: what it runs, and what it was told for its next start only."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    next_time: dict[str, str] = field(default_factory=dict)
    child: Child | None = None
    started_at: float = 0.0
    alive_at: float = 0.0
    """When it was last seen alive, monotonic seconds."""
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Death:
    """A process that ended: when it was seen (monotonic seconds), before when it certainly was alive (wall clock), and
    its exit code, negative for a signal.
    """

    name: str
    pid: int
    at: float
    wall: float
    code: int


class Keeper:
    """Starts its units and watches them, in a thread that lives as long as they may (they die with it)."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._units: dict[str, Unit] = {}
        self._lock = threading.RLock()
        self._ending = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._watch, name="keeper", daemon=True)
        self.deaths: list[Death] = []
        self.killed: dict[int, float] = {}
        """When a process got its SIGKILL from us: monotonic seconds, read right before."""

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def add(self, unit: Unit) -> None:
        """Start it soon, and keep it alive from now on."""
        with self._lock:
            self._units[unit.name] = unit

    def stop(self) -> None:
        """Kill all, at once."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def names(self, prefix: str) -> list[str]:
        """The units so named, in the order of their names."""
        with self._lock:
            return sorted(name for name in self._units if name.startswith(prefix))

    def pid(self, name: str) -> int | None:
        """Its process id while it runs."""
        with self._lock:
            child = self._units[name].child
            return None if child is None or child.has_exited() else child.pid

    def wait_started(self, *names: str) -> None:
        """Until each has a process."""
        wait_until(lambda: all(self.pid(name) for name in names), limit=_START_SECONDS, what=f"the start of {names}")

    def signal(self, name: str, number: Signals) -> int | None:
        """Send it a signal; the process that got it, None if it does not run."""
        with self._lock:
            pid = self.pid(name)
            if pid is not None:
                self.send(pid, number)
            return pid

    def send(self, pid: int, number: Signals) -> None:
        """Send a process of ours, or one below it, a signal. When it is over nothing happens."""
        if number is SIGKILL:
            self.killed.setdefault(pid, time.monotonic())
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def restart_with(self, name: str, **environment: str) -> None:
        """Kill it; its next life, and only that, has these settings too."""
        with self._lock:
            self._units[name].next_time = environment
            self.signal(name, SIGKILL)

    def leave_dead(self, name: str) -> None:
        """Kill it and do not start it again."""
        with self._lock:
            self._units[name].wanted = False
            self.signal(name, SIGKILL)

    def want(self, name: str) -> None:
        """Start it again after leave_dead()."""
        with self._lock:
            self._units[name].wanted = True

    def _watch(self) -> None:
        try:
            while not self._ending.wait(_PULSE):
                self._each(self._look_after)
        except BaseException as error:
            self._failure = error
        finally:
            self._each(_end)

    def _each(self, what: Callable[[Unit], None]) -> None:
        with self._lock:
            for unit in self._units.values():
                what(unit)

    def _look_after(self, unit: Unit) -> None:
        child, now = unit.child, time.monotonic()
        if child is not None and child.has_exited():
            self._bury(unit, child)
        unit.alive_at = now
        if unit.child is None and unit.wanted and time.monotonic() >= unit.started_at:
            environment, unit.next_time = {**unit.environment, **unit.next_time}, {}
            unit.child = Child(Command(unit.name, unit.argv, unit.log, self._mark, environment, SOURCES))
            unit.started_at = time.monotonic()

    def _bury(self, unit: Unit, child: Child) -> None:
        now = time.monotonic()
        child.kill()  # what is left of its group
        assert child.returncode is not None
        since = self.killed.get(child.pid, unit.alive_at)
        self.deaths.append(Death(unit.name, child.pid, now, time.time() - (now - since), child.returncode))
        if now - unit.started_at < _SHORT_LIFE and child.returncode >= 0:
            unit.started_at = now + _AGAIN_AFTER  # it could not start: what it needs is not there
        unit.child = None


def _end(unit: Unit) -> None:
    if unit.child is not None:
        unit.child.kill()

"""Stopping a whole tree of processes for real, and letting it go on (SPEC §8)."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable
from typing import Final

from wvs_agent import processes
from wvs_agent.cgroup import Cgroup
from wvs_agent.processes import DEAD, Process
from wvs_agent.refusal import FreezeRefusedError

_FIRST_PAUSE: Final = 0.0005
_LAST_PAUSE: Final = 0.005
_STALL: Final = 0.02
"""Seconds after which a process that cannot stop is taken to wait for a child that we have stopped."""

Members = Callable[[], list[Process]]


class NotStoppedError(FreezeRefusedError):
    """Something of the tree runs on, or may: it must not be called frozen."""


class Freezer:
    """Stops the processes that `members` finds, the cgroup's at one stroke and all others by SIGSTOP; not thread-safe.

    A tree is still when two looks in a row find the same processes and each thread of each of them stopped: what is
    stopped starts nothing, and what slipped through between two looks has left a child or a zombie behind. So nobody
    may reap meanwhile: the caller's children and those of the keeper stay zombies until the thaw.
    """

    def __init__(self, members: Members, cgroup: Cgroup | None = None) -> None:
        """`members`, parents first, must find everything: descendants, and what is in the cgroup."""
        self._members = members
        self._cgroup = cgroup
        self._held: dict[tuple[int, int], Process] = {}
        self._stopped_before: set[tuple[int, int]] = set()

    def stop(self, seconds: float) -> list[Process]:
        """All processes of the tree, none of which runs any more. Raises NotStoppedError after `seconds`.

        thaw() is due in either case.
        """
        end = time.monotonic() + seconds
        if self._cgroup is not None:
            self._stop_cgroup(self._cgroup, end)
        stall = time.monotonic() + _STALL
        pause = _FIRST_PAUSE
        before: set[tuple[int, int]] | None = None
        while True:
            found = self._members()
            moving = self._hold_all(found)
            if not moving:
                now = {process.key for process in found}
                if now == before:
                    return found
                before = now
                continue
            before = None
            if time.monotonic() > end:
                raise NotStoppedError(f"does not stop: {_named(moving)}")
            if time.monotonic() > stall:
                self._release_children(moving, found)
                stall = time.monotonic() + _STALL
            time.sleep(pause)
            pause = min(pause * 2, _LAST_PAUSE)

    def thaw(self) -> None:
        """Let everything go on that stop() has stopped. Children first: a parent must not see a stopped child.

        Never raises. What was stopped before us stays stopped.
        """
        if self._cgroup is not None:
            self._cgroup.thaw()
        held, self._held = self._held, {}
        self._stopped_before = set()
        for process in reversed(held.values()):
            with contextlib.suppress(OSError):
                processes.send(process, signal.SIGCONT)

    def _stop_cgroup(self, cgroup: Cgroup, end: float) -> None:
        try:
            if not cgroup.freeze(end):
                raise NotStoppedError(f"does not stop: {_named(_running_in(cgroup)) or 'the cgroup'}")
        except OSError as error:
            raise NotStoppedError(f"the cgroup cannot be frozen: {error}") from error

    def _hold_all(self, found: Iterable[Process]) -> list[Process]:
        """Stop each; those that do not stand still yet."""
        frozen = self._frozen_by_cgroup()
        family = list(found)
        pids = {process.pid for process in family}
        return [process for process in family if process.pid not in frozen and not self._hold(process, pids)]

    def _frozen_by_cgroup(self) -> set[int]:
        if self._cgroup is None:
            return set()
        members = self._cgroup.members()
        return members if self._cgroup.is_frozen() else set()

    def _hold(self, process: Process, family: set[int]) -> bool:
        """Whether every thread of it is stopped or dead, after it was told to stop."""
        if self._is_still(process, family):
            if process.key not in self._held and process.state not in DEAD:
                self._stopped_before.add(process.key)
            return True
        try:
            if not processes.send(process, signal.SIGSTOP):
                return True  # gone, and whatever it left behind is found by the next look
        except PermissionError as error:
            raise NotStoppedError(f"{_named([process])} belongs to another user") from error
        if process.key not in self._stopped_before:
            self._held[process.key] = process
        return self._is_still(process, family)

    def _is_still(self, process: Process, family: set[int]) -> bool:
        for state in processes.task_states(process.pid).values():
            if state == "t" and processes.tracer_of(process.pid) in family:
                continue  # its debugger, stopped like all of the family, will not let it go on
            if state != "T" and state not in DEAD:
                return False
        return True

    def _release_children(self, moving: list[Process], found: list[Process]) -> None:
        """Let children of what cannot stop go on for a moment.

        After vfork() a parent waits, unstoppable, until its child has called exec, which a stopped child never does.
        """
        parents = {process.pid for process in moving if "D" in processes.task_states(process.pid).values()}
        for process in found:
            if process.parent in parents and process.key in self._held:
                processes.send(process, signal.SIGCONT)


def thaw_all(members: Members, cgroup: Cgroup | None) -> None:
    """Let everything go on, whoever stopped it: for the keeper, which cannot know. Never raises."""
    if cgroup is not None:
        cgroup.thaw()
    for process in reversed(members()):
        with contextlib.suppress(OSError):
            processes.send(process, signal.SIGCONT)


def _running_in(cgroup: Cgroup) -> list[Process]:
    """What keeps a group from freezing: what is frozen by it looks asleep."""
    found = map(processes.look, sorted(cgroup.members()))
    return [each for each in found if each and not {"R", "D"}.isdisjoint(processes.task_states(each.pid).values())]


def _named(found: list[Process]) -> str:
    return ", ".join(f"process {each.pid} ({processes.name_of(each.pid)})" for each in found[:5])

"""Processes as /proc tells of them: who descends from whom, who stands still; and signals that reach who is meant."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
DEAD: Final = frozenset("ZXx")
"""States of a task that runs no more; a zombie is told apart because it is evidence of a process that was there."""
_STARTED_FIELD: Final = 19
"""Place of `starttime` in /proc/<pid>/stat, counted from the state."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process at the moment of looking. Its number may be used again; number and start together are not."""

    pid: int
    parent: int
    started: int
    """Clock ticks since boot."""
    state: str
    """Of its first thread: a process of many threads is dead only when all of them are."""

    @property
    def key(self) -> tuple[int, int]:
        """What tells it from a later process of the same number."""
        return self.pid, self.started


def look(pid: int) -> Process | None:
    """The process, or None when there is none."""
    try:
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(pid=pid, parent=int(fields[1]), started=int(fields[_STARTED_FIELD]), state=fields[0].decode())


def everyone() -> list[Process]:
    """All processes that this one can see, in the order of their numbers."""
    with os.scandir(PROC) as entries:
        pids = sorted(int(entry.name) for entry in entries if entry.name.isdecimal())
    found = map(look, pids)
    return [process for process in found if process is not None]


def below(roots: Iterable[int], *, but: Container[int] = ()) -> list[Process]:
    """Everything that descends from the processes `roots`, parents first; neither the roots nor `but` themselves.

    What descends from one of `but` is there. Zombies are there too, until they are reaped.
    """
    children: dict[int, list[Process]] = defaultdict(list)
    for process in everyone():
        children[process.parent].append(process)
    found: list[Process] = []
    generation = list(roots)
    seen = set(generation)
    while generation:
        born = [child for pid in generation for child in children[pid] if child.pid not in seen]
        generation = [child.pid for child in born]
        seen.update(generation)
        found += [child for child in born if child.pid not in but]
    return found


def task_states(pid: int) -> dict[int, str]:
    """The state of each thread; empty when the process is gone."""
    states: dict[int, str] = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                line = (task / "stat").read_bytes()
                states[int(task.name)] = line.rpartition(b") ")[2][:1].decode()
    return states


def is_dead(process: Process) -> bool:
    """Whether it runs no more: gone, or a zombie in all its threads."""
    now = look(process.pid)
    if now is None or now.started != process.started:
        return True
    return now.state in DEAD and all(state in DEAD for state in task_states(process.pid).values())


def tracer_of(pid: int) -> int:
    """The process that traces it; 0 for none."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in (PROC / str(pid) / "status").read_text(errors="replace").splitlines():
            if line.startswith("TracerPid:"):
                return int(line.split()[1])
    return 0


def send(process: Process, number: int) -> bool:
    """Signal that very process; False when it is gone. Raises PermissionError for one that is not ours to signal."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The handle holds the number fast only from here on: whose number it is now decides.
        now = look(process.pid)
        if now is None or now.started != process.started:
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def carrying(mark: bytes) -> Iterator[Process]:
    """Processes that were started with `mark` (`NAME=value`) in their environment, as far as it may be read."""
    for process in everyone():
        with contextlib.suppress(OSError):
            if mark in (PROC / str(process.pid) / "environ").read_bytes().split(b"\0"):
                yield process


def name_of(pid: int) -> str:
    """What the process calls itself, for people."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "comm").read_text(errors="replace").strip()
    return "?"

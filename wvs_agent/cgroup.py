"""The cgroup v2 freezer: a group of our own for the command, where the system lets us have one (SPEC §8)."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from wvs_agent import processes
from wvs_agent.processes import PROC, Process

_GONE_LIMIT: Final = 2.0
_EVENT_WAIT: Final = 0.05
"""Seconds between two looks at cgroup.events if the kernel announces nothing."""


class Cgroup:
    """One cgroup of version 2. What is in it, its children included, stops and goes on as one."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    @classmethod
    def make(cls, name: str) -> Self | None:
        """A new group below the one this process is in; None where there is no usable cgroup v2."""
        parent = _own_directory()
        if parent is None:
            return None
        path = parent / name
        try:
            path.mkdir()
        except OSError:
            return None
        made = cls(path)
        if not os.access(path / "cgroup.freeze", os.W_OK) or not os.access(parent / "cgroup.procs", os.W_OK):
            made.remove()
            return None
        return made

    def enter(self) -> None:
        """Put this process in. Raises OSError where that is not allowed."""
        (self.path / "cgroup.procs").write_text("0")

    def members(self) -> set[int]:
        """The processes in it and below it."""
        found: set[int] = set()
        for group in self._groups():
            with contextlib.suppress(OSError):
                found.update(map(int, (group / "cgroup.procs").read_text().split()))
        return found

    def freeze(self, until: float) -> bool:
        """Stop all of it; whether the kernel says that it stands still, by `until` (time.monotonic()).

        Raises OSError.
        """
        (self.path / "cgroup.freeze").write_text("1")
        with (self.path / "cgroup.events").open("rb", buffering=0) as events:
            poll = select.poll()
            poll.register(events, select.POLLPRI)
            while True:
                events.seek(0)
                if b"frozen 1" in events.read():
                    return True
                left = until - time.monotonic()
                if left <= 0:
                    return False
                poll.poll(min(left, _EVENT_WAIT) * 1000)

    def is_frozen(self) -> bool:
        """Whether everything in it stands still now."""
        try:
            return "frozen 1" in (self.path / "cgroup.events").read_text()
        except OSError:
            return False

    def thaw(self) -> None:
        """Let all of it go on. Never raises: a group that is gone holds nobody."""
        with contextlib.suppress(OSError):
            (self.path / "cgroup.freeze").write_text("0")

    def kill(self) -> None:
        """SIGKILL to all of it at one stroke, which no one escapes by starting others. Never raises."""
        with contextlib.suppress(OSError):
            (self.path / "cgroup.kill").write_text("1")

    def remove(self) -> None:
        """Remove it and what the command made below it, once its last process is gone. Never raises."""
        end = time.monotonic() + _GONE_LIMIT
        while True:
            for group in sorted(self._groups(), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()
            if not self.path.exists() or time.monotonic() > end:
                return
            time.sleep(0.01)

    def _groups(self) -> Iterator[Path]:
        yield self.path
        with contextlib.suppress(OSError):
            yield from (entry for entry in self.path.rglob("*") if entry.is_dir())


def with_cgroup(found: list[Process], cgroup: Cgroup | None) -> list[Process]:
    """`found`, and behind it what is in the cgroup and not in `found`."""
    if cgroup is None:
        return found
    others = map(processes.look, cgroup.members() - {process.pid for process in found})
    return found + [process for process in others if process is not None]


def _own_directory() -> Path | None:
    """The directory of this process's cgroup v2, in the unified or in the hybrid layout."""
    mount = next(_mounts(), None)
    with contextlib.suppress(OSError):
        for line in (PROC / "self" / "cgroup").read_text().splitlines():
            if line.startswith("0::") and mount is not None:
                return mount / line.removeprefix("0::").lstrip("/")
    return None


def _mounts() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for line in (PROC / "mounts").read_text().splitlines():
            _, place, kind, *_ = line.split()
            if kind == "cgroup2":
                yield Path(place.replace("\\040", " "))

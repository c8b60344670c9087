"""The mount that a killed executor left behind (SPEC §7).

A mount is told to end when its executor dies. One that is just starting may miss that: its watching process starts the
serving one again, and then both live on with nobody to serve. They are found by what they carry in their environment,
and ended by the next executor that mounts there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

END_SECONDS: Final = 10.0
"""How long it may take to flush and unmount."""
_MARK: Final = "WVS_MOUNTED_FOR"
_PROC: Final = Path("/proc")
_PULSE: Final = 0.05
_log = structlog.get_logger(__name__)


def mark(path: Path) -> dict[str, str]:
    """What a mount of this process's at `path` carries in its environment; it must lead a process group of its own."""
    return {_MARK: f"{os.getpid()} {path}"}


def end(path: Path) -> None:
    """End what mounts at `path` for an executor that is dead. Raises OSError if it does not end."""
    left = set(_orphaned_groups(path))
    if not left:
        return
    _log.warning("orphans.ended", path=str(path), process_groups=sorted(left))
    _signal(left, signal.SIGTERM)
    if not _are_over(path, left):
        _signal(left, signal.SIGKILL)
        if not _are_over(path, left):
            raise OSError(f"{path}: process groups {sorted(left)} of a killed executor do not end")


def _orphaned_groups(path: Path) -> Iterator[int]:
    """The process groups of mounts at `path` whose leader is dead, or no child of the executor that started it."""
    for pid, owner in _marked(path):
        with contextlib.suppress(OSError):
            group = os.getpgid(pid)
            if _parent(group) != owner:
                yield group


def _marked(path: Path) -> Iterator[tuple[int, int]]:
    """Every living process of a mount at `path`, and the executor that started it."""
    first, last = f"{_MARK}=".encode(), f" {path}".encode()
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                for word in (entry / "environ").read_bytes().split(b"\0"):
                    if word.startswith(first) and word.endswith(last):
                        yield int(entry.name), int(word[len(first) :].split(b" ", 1)[0])


def _parent(pid: int) -> int | None:
    """Whose child it is; None: it is no more."""
    try:
        status = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return int(status.rpartition(")")[2].split()[1])


def _signal(groups: set[int], number: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)


def _are_over(path: Path, groups: set[int]) -> bool:
    until = time.monotonic() + END_SECONDS
    while groups & set(_orphaned_groups(path)):
        if time.monotonic() > until:
            return False
        time.sleep(_PULSE)
    return True

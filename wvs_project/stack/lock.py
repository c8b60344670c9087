"""One stack per directory: a lock that lives exactly as long as the process that holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wvs_project.stack.errors import StackError


class StackIsRunning(StackError):
    """Another process holds the lock; `pid` is its id, 0 when it has not said so yet."""

    def __init__(self, state: Path, pid: int) -> None:
        super().__init__(f"a stack is already running on {state} (pid {pid}): `make down` stops it")
        self.pid = pid


@contextmanager
def stack_lock(state: Path) -> Iterator[None]:
    """Hold the directory. Children do not inherit the lock: it is free as soon as this process is gone.

    Raises StackIsRunning.
    """
    with (state / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackIsRunning(state, running_pid(state)) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)


def running_pid(state: Path) -> int:
    """What the lock's holder wrote: its process id, 0 when nothing is written."""
    text = (state / "lock").read_text().strip()
    return int(text) if text.isdecimal() else 0


def is_running(state: Path) -> bool:
    """Whether a stack holds the directory now."""
    try:
        with (state / "lock").open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False

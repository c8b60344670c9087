"""The terminal's foreground: the command's while it runs, ours when it does not."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


def terminal() -> int | None:
    """A descriptor of the terminal that this process works at; None without one."""
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError):
            if os.isatty(fd) and os.tcgetpgrp(fd) >= 0:
                return fd
    return None


def foreground() -> int:
    """The process group that has the terminal; 0 without a terminal."""
    fd = terminal()
    return 0 if fd is None else os.tcgetpgrp(fd)


def give_to(group: int) -> None:
    """Make `group` the one that reads the terminal and gets its signals. Does nothing without a terminal."""
    fd = terminal()
    if fd is not None:
        with _without_stop(), contextlib.suppress(OSError):
            os.tcsetpgrp(fd, group)


@contextmanager
def _without_stop() -> Iterator[None]:
    """Whoever is in the background and takes the terminal is stopped for it, unless the signal is blocked."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)

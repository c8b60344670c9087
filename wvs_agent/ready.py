"""Waiting for descriptors, however high their numbers are."""

from __future__ import annotations

import math
import select
from collections.abc import Iterable


def readable(fds: Iterable[int], seconds: float | None) -> set[int]:
    """Those that can be read, or whose other end is gone, after at most so many seconds; None: without a limit.

    By poll: select() fails for a descriptor above 1023, which a program that embeds us may well have.
    """
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    return {fd for fd, _ in poller.poll(None if seconds is None else math.ceil(max(seconds, 0.0) * 1000))}

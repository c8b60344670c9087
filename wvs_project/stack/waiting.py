"""Waiting for an event with a limit, and finding a port that nobody has."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import Final

from wvs_project.stack.errors import StackError

LOOPBACK: Final = "127.0.0.1"
_PULSE_SECONDS: Final = 0.03
# Below the range from which the kernel takes the ports of outgoing connections (32768 and up): a port found free
# here can be lost only to somebody who asks for that very number.
_PORTS: Final = range(20_000, 32_000)
_TRIES: Final = 200


def wait_until(condition: Callable[[], bool], *, limit: float, what: str) -> None:
    """Return when `condition` holds. Raises StackError naming `what` after `limit` seconds."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() >= end:
            raise StackError(f"{what}: not within {limit:g} s")
        time.sleep(_PULSE_SECONDS)


def free_port() -> int:
    """A loopback TCP port that nobody listens on now. Raises StackError when none is to be had."""
    for port in random.sample(_PORTS, _TRIES):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise StackError("no free TCP port on 127.0.0.1")

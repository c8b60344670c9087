"""Ctrl-C, SIGTERM and SIGHUP as one exception in the main thread, once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopAsked(BaseException):
    """Somebody asked us to stop; the message is the signal's name. Not an Exception: no handler swallows it."""


class StopSignals:
    """Raises StopAsked at the first signal; later ones, and all after `ignore`, change nothing."""

    def __init__(self) -> None:
        self._armed = True

    def ignore(self) -> None:
        """From now on the stop is under way."""
        self._armed = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self._armed:
            self._armed = False
            raise StopAsked(signal.Signals(number).name)


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Signals are ours within, and as before afterwards. Only in the main thread."""
    signals = StopSignals()
    before = {number: signal.signal(number, signals.receive) for number in _SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

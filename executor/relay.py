"""From the thread that works to the one that speaks with the caller: progress now and then, one ending at last."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

P = TypeVar("P")
E = TypeVar("E")
PAUSE_SECONDS: Final = 0.25
"""Between two pieces of progress; what came meanwhile is replaced by what came last."""


class Relay(Generic[P, E]):
    """One worker tells and ends; one speaker iterates. `tell` and `end` never wait for the speaker."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._latest: P | None = None
        self._ending: E | None = None

    def tell(self, progress: P) -> None:
        """How far it is."""
        with self._changed:
            self._latest = progress
            self._changed.notify()

    def end(self, ending: E) -> None:
        """It is over."""
        with self._changed:
            self._ending = ending
            self._changed.notify()

    def __iter__(self) -> Iterator[P | E]:
        """Until the ending, which comes last and once."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._latest is not None or self._ending is not None)
                latest, self._latest = self._latest, None
                ending = self._ending
            if latest is not None:
                yield latest
            if ending is not None:
                yield ending
                return
            with self._changed:
                self._changed.wait_for(lambda: self._ending is not None, PAUSE_SECONDS)

"""What a service is doing, and how that is stopped: by its caller, by a lost caller, by the end of the service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Protocol

import structlog

from executor.contract import ExecutorFault, FaultReason, StopReason, StopSignal

_log = structlog.get_logger(__name__)


class Caller(Protocol):
    """What gRPC tells of the one who called."""

    def add_callback(self, callback: Callable[[], None], /) -> object:
        """Call it when the call is over, however that comes. False, or None, if it is over already."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None: there is none."""
        ...


class Runs:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: set[StopSignal] = set()
        self._ending = False

    @property
    def active(self) -> int:
        """How many there are now."""
        return len(self._stops)

    def begin(self, caller: Caller) -> StopSignal:
        """The signal of one more, which stops when the caller is gone. `end` must follow.

        Raises ExecutorFault(UNAVAILABLE), not begun, when the service is being shut down.
        """
        stop = StopSignal()
        with self._lock:
            if self._ending:
                stop.close()
                raise ExecutorFault(FaultReason.UNAVAILABLE, "the executor is shutting down", begun=False)
            self._stops.add(stop)

        def gone() -> None:
            if stop not in self._stops:  # the ordinary end
                return
            left = caller.time_remaining()
            reason = StopReason.TIMED_OUT if left is not None and left <= 0 else StopReason.CANCELED
            _log.info("caller.gone", reason=reason.value)
            stop.stop(reason)

        # In a thread of gRPC's: the lines are to say whom they serve all the same.
        context = copy_context()

        def told() -> None:
            context.run(gone)

        if not caller.add_callback(told):
            told()
        return stop

    def end(self, stop: StopSignal) -> None:
        """It is over."""
        with self._lock:
            self._stops.discard(stop)
        stop.close()

    @contextmanager
    def running(self, caller: Caller) -> Iterator[StopSignal]:
        """begin and end."""
        stop = self.begin(caller)
        try:
            yield stop
        finally:
            self.end(stop)

    def stop_all(self, reason: StopReason) -> None:
        """Stop whatever runs and begin nothing any more."""
        with self._lock:
            self._ending = True
            if self._stops:
                _log.warning("executor.stops_runs", active=len(self._stops))
            for stop in self._stops:
                stop.stop(reason)

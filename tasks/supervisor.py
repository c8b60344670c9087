"""Watches the runs of one process while they execute (SPEC §6; ENGINE "Cancel, time-out, child processes").

It stops a run when its guard is lost, its time is up, its cancel was requested or the process has to go; the first
reason stands. What happens then is the run's own business. One thread watches guards and deadlines and asks nobody,
another hears the cancels; both sleep while nothing runs.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from executor.contract import StopReason, StopSignal
from tasks.cancels import CancelListener
from tasks.locks import Guard

TICK_SECONDS: Final = 1.0
"""How long the watching thread sleeps at most while something runs."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Watched:
    """One run: its task, the guard that holds RUN for it, how to stop it, when its time is up (monotonic seconds).

    `cancelable` is false where a cancel has no effect any more.
    """

    task_id: str
    guard: Guard
    stop: StopSignal
    deadline: float
    cancelable: bool
    about: Mapping[str, object] = field(default_factory=dict)
    """Whom it serves, for the log."""


class Supervisor:
    """Use as: watch(run) … unwatch(run). Between them nobody else may touch the run's guard."""

    def __init__(self, conninfo: str) -> None:
        self._runs: dict[str, Watched] = {}
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Not in close(): a thread that hangs may still come back and use it.
        weakref.finalize(self, os.close, self._wake)
        self._thread: threading.Thread | None = None
        self._closing = False
        self._ending: StopReason | None = None
        self.cancels = CancelListener(conninfo, self._cancelable)

    def watch(self, run: Watched) -> None:
        """Begin to watch. After stop_all the run is told to stop at once: it was claimed just before."""
        with self._lock:
            self._runs[run.task_id] = run
            if self._ending is not None:
                run.stop.stop(self._ending)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="supervisor", daemon=True)
                self._thread.start()
            self.cancels.look()
        os.eventfd_write(self._wake, 1)

    def unwatch(self, run: Watched) -> None:
        """When this returns the guard is the caller's again."""
        with self._lock:
            # After a lost guard the task may run again in this process before the first run has ended.
            if self._runs.get(run.task_id) is run:
                del self._runs[run.task_id]

    def stop_all(self, reason: StopReason) -> None:
        """Stop whatever runs, and whatever is watched from now on: the process has to go."""
        with self._lock:
            self._ending = reason
            for run in self._runs.values():
                run.stop.stop(reason)

    def close(self) -> None:
        """End the threads."""
        self.cancels.close()
        self._closing = True
        os.eventfd_write(self._wake, 1)
        thread = self._thread
        if thread is not None:
            thread.join(timeout=5)

    def _loop(self) -> None:
        while not self._closing:
            try:
                self._wait_and_check()
            except Exception:
                log.exception("supervisor.failed")
                time.sleep(TICK_SECONDS)

    def _wait_and_check(self) -> None:
        with self._lock:
            runs = list(self._runs.values())
        sockets = {run.guard.fileno(): run for run in runs}
        # poll, not select: a worker may hold more than 1024 descriptors.
        poller = select.poll()
        for fd in (*sockets, self._wake):
            poller.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poller.poll(self._timeout(runs))}
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
        for fd in ready:
            run = sockets.get(fd)
            if run is not None:
                self._check_guard(run)
        self._check_deadlines()

    @staticmethod
    def _timeout(runs: list[Watched]) -> float | None:
        """Milliseconds until something must be looked at; None while nothing runs.

        The deadline of a run that is stopping already is nothing to wake up for, however long it takes to stop.
        """
        if not runs:
            return None
        now = time.monotonic()
        left = [run.deadline - now for run in runs if run.stop.reason is None]
        return 1000 * max(0.0, min([TICK_SECONDS, *left]))

    def _check_guard(self, run: Watched) -> None:
        with self._lock:
            if self._runs.get(run.task_id) is run and run.guard.is_lost():
                log.error("guard.lost", **{"task_id": run.task_id, **run.about})
                run.stop.stop(StopReason.GUARD_LOST)
                # Its socket stays readable for ever: nothing more to hear from it.
                self._runs.pop(run.task_id)

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        with self._lock:
            for run in self._runs.values():
                if now >= run.deadline:
                    run.stop.stop(StopReason.TIMED_OUT)

    def _cancelable(self) -> dict[str, StopSignal]:
        """The runs that a cancel may still stop."""
        with self._lock:
            runs = self._runs.values()
            return {run.task_id: run.stop for run in runs if run.cancelable and run.stop.reason is None}

"""Hears the cancels of running tasks (SPEC §6), in a thread of its own.

PostgreSQL may leave a question unanswered for long, when the network is cut or something between us hangs; deadlines
and guards, which another thread watches, must not wait for that.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Final

import psycopg
import structlog

from executor.contract import StopReason, StopSignal
from tasks.bells import CANCEL_CHANNEL

TICK_SECONDS: Final = 1.0
"""How often cancels are looked for in the table, in case their NOTIFY was not heard."""
_CANCELED: Final = "SELECT task_id FROM tasks WHERE task_id = ANY(%s) AND cancel_requested AND status = 'RUNNING'"

log = structlog.get_logger(__name__)


class CancelListener:
    """One thread and one connection, both asleep while nothing runs that could be canceled.

    `wanted` gives the runs that may be canceled now, by task id; what is heard is told to their signal.
    """

    def __init__(self, conninfo: str, wanted: Callable[[], Mapping[str, StopSignal]]) -> None:
        self._conninfo = conninfo
        self._wanted = wanted
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Not in close(): a thread that hangs may still come back and use it.
        weakref.finalize(self, os.close, self._wake)
        self._thread = threading.Thread(target=self._loop, name="wvs-cancels", daemon=True)
        self._closing = threading.Event()
        self._connection: psycopg.Connection | None = None

    def look(self) -> None:
        """A run began: look soon. Not thread-safe; the first call starts the thread."""
        if self._thread.ident is None:
            self._thread.start()
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """End the thread, unless PostgreSQL keeps it waiting: then it ends with the process."""
        self._closing.set()
        os.eventfd_write(self._wake, 1)
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    @property
    def is_listening(self) -> bool:
        """Whether it has a connection that, as far as it knows, hears."""
        return self._connection is not None

    def _loop(self) -> None:
        while not self._closing.is_set():
            try:
                self._wait_and_tell()
            except psycopg.Error as error:
                log.warning("cancels.disconnected", error=str(error))
                self._drop()
                self._closing.wait(TICK_SECONDS)
            except Exception:
                log.exception("cancels.failed")
                self._drop()
                self._closing.wait(TICK_SECONDS)
        self._drop()

    def _wait_and_tell(self) -> None:
        wanted = self._wanted()
        if wanted and self._connection is None:
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
            self._connection.execute(f"LISTEN {CANCEL_CHANNEL}")
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        if self._connection is not None:
            poller.register(self._connection.fileno(), select.POLLIN)
        poller.poll(1000 * TICK_SECONDS if wanted else None)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if self._connection is not None:
            self._tell(self._connection)

    def _tell(self, connection: psycopg.Connection) -> None:
        # Read what was heard even if nobody here wants it: an unread socket would keep this thread awake.
        for _ in connection.notifies(timeout=0):
            pass
        wanted = self._wanted()
        if not wanted:
            return
        for (task_id,) in connection.execute(_CANCELED, [list(wanted)]).fetchall():
            # The run that was asked about, not one that has taken its place: a probe is not to be canceled.
            wanted[task_id].stop(StopReason.CANCELED)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

"""One leader among many schedulers (SPEC §6): a session advisory lock on the connection that LISTENs.

Losing the connection loses both, so a leader that hears nothing any more is none. Two leaders at once are harmless.
"""

from __future__ import annotations

import os
import select
from typing import Final

import psycopg
import structlog
from psycopg import sql

STANDBY_SECONDS: Final = 60
"""How long one wait for the lock takes: a waiting statement holds a snapshot, which holds back VACUUM."""
ANSWER_SECONDS: Final = 10.0
"""How long PostgreSQL may take to answer the heartbeat."""
_TRY: Final = "SELECT pg_try_advisory_lock(hashtextextended('wvs-scheduler', 2))"
_WAIT: Final = b"SELECT pg_advisory_lock(hashtextextended('wvs-scheduler', 2))"

log = structlog.get_logger(__name__)


class Leadership:
    """One candidate's connection. `interrupt()` wakes it from every wait, from another thread or a signal handler."""

    def __init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._connection: psycopg.Connection | None = None

    def interrupt(self) -> None:
        """End the wait that is under way, and every later one at once."""
        os.eventfd_write(self._wake, 1)

    def connect(self, conninfo: str, channel: str) -> None:
        """A fresh connection that LISTENs. Raises psycopg.Error."""
        self.drop()
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        self._connection.execute(f"SET lock_timeout = '{STANDBY_SECONDS}s'")

    def drop(self) -> None:
        """Close the connection: a stand-by leads within milliseconds."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close the connection and give the descriptor back."""
        self.drop()
        os.close(self._wake)

    def take(self) -> bool:
        """Wait until we lead, for STANDBY_SECONDS at most; whether we do. Raises psycopg.Error."""
        row = self._connected.execute(_TRY).fetchone()
        if row is not None and row[0]:
            return True
        pgconn = self._connected.pgconn
        # Not execute(): the wait must end when somebody interrupts it.
        pgconn.send_query(_WAIT)
        taken = False
        while pgconn.is_busy():
            if not self._readable(STANDBY_SECONDS + ANSWER_SECONDS):
                return False
            pgconn.consume_input()
        while (result := pgconn.get_result()) is not None:
            taken = result.status == psycopg.pq.ExecStatus.TUPLES_OK
        return taken

    def heartbeat(self) -> None:
        """Make sure that we still lead. Raises psycopg.OperationalError when PostgreSQL does not answer in time."""
        pgconn = self._connected.pgconn
        pgconn.send_query(b"SELECT 1")
        while pgconn.is_busy():
            if not self._readable(ANSWER_SECONDS):
                raise psycopg.OperationalError("no answer to the heartbeat")
            pgconn.consume_input()
        while (result := pgconn.get_result()) is not None:
            if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
                raise psycopg.OperationalError(f"the heartbeat failed: {result.get_error_message()}")

    def hear(self, seconds: float) -> list[str]:
        """Wait for news, at most so long: the payloads that came. Raises psycopg.OperationalError."""
        # What came with an earlier answer lies in libpq already, and the socket does not tell.
        return self._came() or (self._came() if self._readable(seconds) else [])

    def _came(self) -> list[str]:
        pgconn = self._connected.pgconn
        pgconn.consume_input()
        payloads = []
        while (notify := pgconn.notifies()) is not None:
            payloads.append(notify.extra.decode())
        return payloads

    @property
    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            raise psycopg.OperationalError("not connected")
        return self._connection

    def _readable(self, seconds: float) -> bool:
        """Whether the connection has something for us within so many seconds; False when interrupted."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(self._connected.fileno(), select.POLLIN)
        ready = {fd for fd, _ in poller.poll(1000 * seconds)}
        return self._wake not in ready and bool(ready)

"""The two locks of a workspace, always taken in this order (SPEC §6, ENGINE "Two locks, two connections").

RUN(wsid): an advisory lock, 64 bit, in an otherwise idle transaction on a guard connection of its own. It is held
from before the claim until after apply and dies with the worker, so "row says RUNNING, lock is free" means "lost".
STATE(wsid): the workspace row, held for milliseconds by everything that decides.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import psycopg
from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable

from wvs_project.errors import ErrorCode, WvsError

_TRY_RUN: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 1))"

# One statement, whatever the number: trying each lock would cost one for every running task, each second.
_HOLDERS: Final = """
WITH held AS MATERIALIZED (
    SELECT (classid::bigint << 32) | objid::bigint AS key, pid FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT wsid, pid FROM unnest(%s::text[]) AS wsid JOIN held ON held.key = hashtextextended(wsid, 1)
"""


def lock_timeout_as_refusal(error: OperationalError, wsid: str) -> WvsError | None:
    """The answer to a lock that was not had within lock_timeout, or None if the error is another one."""
    if not isinstance(error.__cause__, LockNotAvailable):
        return None
    return WvsError(
        ErrorCode.CONFLICT_LOCKED,
        f"workspace {wsid} is being changed by somebody else; try again",
        blockers=[{"lock": "workspace", "wsid": wsid}],
        retry_after=1,
    )


def hold_state(wsid: str) -> bool:
    """STATE(wsid) until the transaction ends; False if there is no such workspace.

    Raises WvsError(CONFLICT_LOCKED) when somebody else held it past lock_timeout. A statement of its own: what is
    checked under the lock must be read after it was taken.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM workspaces WHERE wsid = %s FOR NO KEY UPDATE", [wsid])
            return cursor.fetchone() is not None
    except OperationalError as error:
        refusal = lock_timeout_as_refusal(error, wsid)
        if refusal is None:
            raise
        raise refusal from error


def run_holders(wsids: Sequence[str]) -> dict[str, int]:
    """Which server process holds RUN of which of these workspaces; those whose lock is free are missing.

    True of one moment only: whoever acts on it takes the lock and looks again.
    """
    if not wsids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_HOLDERS, [list(wsids)])
        return dict(cursor.fetchall())


def terminate_backend(pid: int) -> None:
    """End a server process of our own role: whoever is connected by it has lost its locks and is told so."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])


class Guard:
    """One connection whose idle transaction holds RUN. Simple protocol, READ COMMITTED, no transaction id, no
    snapshot: an idle guard does not hold back VACUUM.
    """

    def __init__(self, conninfo: str) -> None:
        self._connection = psycopg.connect(conninfo, cursor_factory=psycopg.ClientCursor)
        self._connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        # The role's or the server's time-out for idle transactions must not free the lock.
        self._connection.execute("SET idle_in_transaction_session_timeout = 0")
        self._connection.commit()

    def try_run(self, wsid: str) -> bool:
        """Begin a transaction and try RUN(wsid). When it is taken the transaction is ended again."""
        row = self._connection.execute(_TRY_RUN, [wsid]).fetchone()
        taken = row is not None and bool(row[0])
        if not taken:
            self._connection.rollback()
        return taken

    def release(self) -> None:
        """End the transaction and with it the lock. Raises psycopg.OperationalError if the connection was lost."""
        self._connection.rollback()

    def fileno(self) -> int:
        """The socket: it becomes readable only if the server ends the connection."""
        return self._connection.fileno()

    def is_lost(self) -> bool:
        """Whether the socket, being readable, says that the connection is gone."""
        try:
            self._connection.pgconn.consume_input()
        except psycopg.Error:
            return True
        return self._connection.pgconn.status != psycopg.pq.ConnStatus.OK

    @property
    def backend_pid(self) -> int:
        """The server process that holds the lock."""
        return self._connection.info.backend_pid

    def close(self) -> None:
        """Give the connection back to the server."""
        self._connection.close()


class GuardPool:
    """Guards to use again, the last used first: a fresh connection costs more than a task's wake-up may take."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._idle: list[Guard] = []
        self._lock = threading.Lock()

    def acquire(self, wsid: str) -> Guard | None:
        """A guard that holds RUN(wsid), or None if somebody else holds it. Raises psycopg.OperationalError."""
        guard, fresh = self._take()
        try:
            taken = guard.try_run(wsid)
        except psycopg.OperationalError:
            guard.close()
            if fresh:
                raise
            # It died while it lay idle, as all of them do when PostgreSQL restarts.
            self.close()
            return self.acquire(wsid)
        if taken:
            return guard
        self._put(guard)
        return None

    def release(self, guard: Guard) -> None:
        """Free RUN and keep the guard for later. Never raises: a lost connection has freed it already."""
        try:
            guard.release()
        except psycopg.Error:
            guard.close()
        else:
            self._put(guard)

    def close(self) -> None:
        """Close the idle ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for guard in idle:
            guard.close()

    def _take(self) -> tuple[Guard, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), False
        return Guard(self._conninfo), True

    def _put(self, guard: Guard) -> None:
        with self._lock:
            self._idle.append(guard)

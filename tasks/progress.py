"""How far running tasks are, into their rows (SPEC §6, §7): at most twice a second for each, and never in a run's way.

One thread and one connection for all runs of a process. A sink only notes what it is told; the thread writes what was
noted last, where the row is still RUNNING with the run's fence. What PostgreSQL does not take is told again or lost: it
decides nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
import structlog
from psycopg.types.json import Jsonb

from executor.contract import Progress, ProgressSink
from tasks.models import Task
from tasks.states import Status

PAUSE_SECONDS: Final = 0.5
"""Between two writes. A run that is over sooner is never written about."""
_SINCE: Final = (  # RFC 3339, by PostgreSQL's clock; without the key while no agent stands still
    "jsonb_strip_nulls(jsonb_build_object('frozen_since', to_char(clock_timestamp() AT TIME ZONE 'UTC' "
    '- make_interval(secs => %s), \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')))'
)
_WRITE: Final = (
    f"UPDATE {Task._meta.db_table} SET progress = %s || {_SINCE} "  # noqa: S608 — a name of ours
    f"WHERE task_id = %s AND fence = %s AND status = '{Status.RUNNING}'"
)

log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Followed:
    """One run. `noted` is what was told and is not written yet."""

    task_id: str
    fence: int
    noted: Progress | None = None
    frozen_at: float | None = None
    """When the agent was first told of as standing still, by our monotonic clock; no other host's clock counts (H5)."""

    def tell(self, progress: Progress) -> None:
        if not progress.frozen:
            self.frozen_at = None
        elif self.frozen_at is None:
            self.frozen_at = time.monotonic()
        self.noted = progress

    def frozen_seconds(self) -> float | None:
        """How long the agent has stood still; None: it does not."""
        begun = self.frozen_at
        return None if begun is None else time.monotonic() - begun


class ProgressWriter:
    """Thread-safe. The thread sleeps while nothing runs."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._changed = threading.Condition()
        self._runs: set[_Followed] = set()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._connection: psycopg.Connection | None = None

    @contextmanager
    def following(self, task_id: str, fence: int) -> Iterator[ProgressSink]:
        """A sink for a run, while the context lasts. It never waits and never raises."""
        run = _Followed(task_id, fence)
        with self._changed:
            self._runs.add(run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="progress", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield run.tell
        finally:
            with self._changed:
                self._runs.discard(run)

    def close(self) -> None:
        """End the thread, unless PostgreSQL keeps it waiting: then it ends with the process."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _loop(self) -> None:
        while self._wait():
            try:
                self._write()
            except psycopg.Error as error:
                log.warning("progress.unwritten", error=str(error))
                self._drop()
            except Exception:
                log.exception("progress.failed")
                self._drop()
        self._drop()

    def _wait(self) -> bool:
        """Until something runs, and then for a pause. False: close() was called."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._runs)
            self._changed.wait_for(lambda: self._closing, PAUSE_SECONDS)
            return not self._closing

    def _write(self) -> None:
        with self._changed:
            runs = list(self._runs)
        for run in runs:
            progress, run.noted = run.noted, None
            if progress is not None:
                told = [Jsonb(_as_json(progress)), run.frozen_seconds(), run.task_id, run.fence]
                self._connected().execute(_WRITE, told)

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _as_json(progress: Progress) -> dict[str, object]:
    return {
        "phase": progress.phase,
        "entries_done": progress.entries_done,
        "entries_total": progress.entries_total,
    }

"""Waiting for events in tests: always with a limit, never by sleeping and hoping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from django.db import connection, connections

LIMIT: Final = 30.0
"""Seconds after which a test that waits has failed."""
_PULSE: Final = 0.005

T = TypeVar("T")


def eventually(condition: Callable[[], T], what: str = "the condition") -> T:
    """The first true answer of `condition`, asked again and again; for what nothing else announces."""
    end = time.monotonic() + LIMIT
    while not (answer := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {LIMIT:g} s")
        time.sleep(_PULSE)
    return answer


class InThread(Generic[T]):
    """A call in a thread of its own, with database connections of its own."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._started = threading.Event()
        self.backend_pid = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            connection.ensure_connection()
            self.backend_pid = connection.connection.info.backend_pid
            self._started.set()
            self._result.append(self._call())
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()
            connections.close_all()

    def result(self, limit: float = LIMIT) -> T:
        """Wait for the end; what the call returned, or raise what it raised."""
        self._thread.join(limit)
        if self._thread.is_alive():
            raise TimeoutError("the call has not ended")
        if self._error is not None:
            raise self._error
        return self._result[0]

    def outcome(self) -> T | BaseException:
        """Wait for the end; what the call returned or raised."""
        try:
            return self.result()
        except TimeoutError:
            raise
        except BaseException as error:
            return error

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return not self._thread.is_alive()

    def wait_blocked(self) -> list[int]:
        """Until PostgreSQL says that its connection waits for a lock: the pids of those who hold it."""
        self._started.wait(LIMIT)

        def blockers() -> list[int]:
            if self.is_over:
                raise AssertionError(f"it ended without being blocked: {self.outcome()!r}")
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_blocking_pids(%s)", [self.backend_pid])
                return list(cursor.fetchone()[0])

        return eventually(blockers, "blocked by a lock")

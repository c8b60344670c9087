"""Waiting for a task to finish, for `GET /v1/tasks/{id}?wait=` (SPEC §4).

One thread per process LISTENs for finishes and wakes whoever waits for that task. A waiter holds a place, of which
there are few, and no database connection. It knows neither models nor HTTP: what is read is the caller's.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Final, TypeVar

import psycopg
import structlog
from django.db import connection
from psycopg import sql

from tasks.bells import FINISH_CHANNEL
from wvs_project.config import get_config
from wvs_project.db import direct_conninfo

RECONNECT_SECONDS: Final = 0.5
READY_SECONDS: Final = 2.0
"""How long a waiter waits for the LISTEN to stand before it reads the row all the same."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


class FinishListener:
    """The one LISTEN of this process, started by the first who waits. It outlives a restart of PostgreSQL.

    A notification that was missed while it had no connection cannot be known, so every (re)connect wakes everybody.
    """

    def __init__(self, *, conninfo: Callable[[], str], places: int) -> None:
        self._conninfo = conninfo
        self._places = threading.BoundedSemaphore(places)
        self._lock = threading.Lock()
        self._waiters: dict[str, set[threading.Event]] = defaultdict(set)
        self._thread: threading.Thread | None = None
        self._listening = threading.Event()
        self._released = threading.Event()
        self._closing = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    @contextmanager
    def place(self, task_id: str) -> Iterator[threading.Event | None]:
        """A place to wait for the task: an event that is set when there may be news. None if all places are taken.

        When the body begins, no finish from now on is missed.
        """
        if self._released.is_set() or not self._places.acquire(blocking=False):
            yield None
            return
        news = threading.Event()
        try:
            with self._lock:
                self._waiters[task_id].add(news)
                self._start()
            self._listening.wait(READY_SECONDS)
            yield news
        finally:
            self._leave(task_id, news)
            self._places.release()

    def release(self) -> None:
        """Wake everybody and let nobody wait any more: the process is about to end. Does not block."""
        self._released.set()
        self._wake_all()

    def is_released(self) -> bool:
        """Whether nobody may wait any more."""
        return self._released.is_set()

    def close(self) -> None:
        """End the thread and its connection; the next waiter starts them again."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            os.eventfd_write(self._closing, 1)
            thread.join()
            os.eventfd_read(self._closing)
        self._released.clear()

    @property
    def waiting(self) -> int:
        """How many wait now."""
        with self._lock:
            return sum(len(waiters) for waiters in self._waiters.values())

    def _leave(self, task_id: str, news: threading.Event) -> None:
        with self._lock:
            self._waiters[task_id].discard(news)
            if not self._waiters[task_id]:
                del self._waiters[task_id]

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wvs-listen", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while self._is_wanted():
            try:
                self._listen()
            except psycopg.Error as error:
                log.warning("listen.disconnected", error=str(error))
                poller = select.poll()
                poller.register(self._closing, select.POLLIN)
                poller.poll(RECONNECT_SECONDS * 1000)
            finally:
                self._listening.clear()

    def _is_wanted(self) -> bool:
        return self._thread is threading.current_thread()

    def _listen(self) -> None:
        with psycopg.connect(self._conninfo(), autocommit=True) as listening:
            listening.execute(sql.SQL("LISTEN {}").format(sql.Identifier(FINISH_CHANNEL)))
            self._wake_all()
            self._listening.set()
            poller = select.poll()
            poller.register(listening.fileno(), select.POLLIN)
            poller.register(self._closing, select.POLLIN)
            while self._is_wanted():
                for notify in listening.notifies(timeout=0):
                    self._wake(notify.payload)
                poller.poll()

    def _wake(self, task_id: str) -> None:
        with self._lock:
            for news in self._waiters.get(task_id, ()):
                news.set()

    def _wake_all(self) -> None:
        with self._lock:
            for waiters in self._waiters.values():
                for news in waiters:
                    news.set()


@cache
def listener() -> FinishListener:
    """This process's. At most half of the server's threads wait."""
    conninfo = partial(direct_conninfo, application_name="wvs-listen")
    return FinishListener(conninfo=conninfo, places=get_config().api_threads // 2)


def read_when(
    read: Callable[[], T], is_finished: Callable[[T], bool], *, task_id: str, seconds: float
) -> tuple[T, bool]:
    """What `read` says once it is finished or `seconds` have passed, and whether there was a place to wait.

    Without a place, and when the process is about to end, it is read once and answered as it is.
    """
    with listener().place(task_id) as news:
        end = time.monotonic() + seconds
        while True:
            if news is not None:
                news.clear()
            value = read()
            left = end - time.monotonic()
            if news is None or is_finished(value) or left <= 0 or listener().is_released():
                return value, news is not None
            connection.close()  # back to the pool while we wait
            news.wait(left)

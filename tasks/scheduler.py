"""The scheduler (SPEC §6): rings for due heads that nobody has begun, and rescues tasks whose worker is lost.

It only ever hints and heals: two of them at once are harmless. It listens for new work; without any it looks at the
table once in an idle beat.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

import psycopg
import structlog
from django.db import DatabaseError, InterfaceError, connection, transaction

from tasks import doorbell, settlement
from tasks.audit import Actor
from tasks.bells import WORK_CHANNEL
from tasks.locks import GuardPool, hold_state
from tasks.models import Task
from tasks.states import Status
from wvs_project.db import direct_conninfo
from wvs_project.errors import WvsError

UNHEARD_SECONDS: Final = 5.0
"""How long a bell may go unanswered before it is rung again."""
RECONNECT_SECONDS: Final = 1.0

# Steps from workspace to workspace through the index tasks_live_by_seq, so the cost follows the number of busy
# workspaces and not the number of waiting tasks.
_HEADS: Final = """
WITH RECURSIVE busy(wsid) AS (
    (SELECT wsid FROM tasks WHERE status IN ('PENDING', 'RUNNING', 'FAILED') ORDER BY wsid LIMIT 1)
  UNION ALL
    SELECT (SELECT t.wsid FROM tasks t WHERE t.status IN ('PENDING', 'RUNNING', 'FAILED') AND t.wsid > busy.wsid
            ORDER BY t.wsid LIMIT 1)
    FROM busy WHERE busy.wsid IS NOT NULL
)
SELECT head.task_id, head.wsid, head.status, head.fence,
       EXTRACT(EPOCH FROM head.next_run_at - clock_timestamp())::float8,
       head.status = 'FAILED'
FROM busy CROSS JOIN LATERAL (
    SELECT * FROM tasks t WHERE t.wsid = busy.wsid AND t.status IN ('PENDING', 'RUNNING', 'FAILED')
    ORDER BY t.seq LIMIT 1
) head
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Head:
    """The oldest live task of a workspace. `due_in` is seconds, negative when it is overdue."""

    task_id: str
    wsid: str
    status: str
    fence: int | None
    due_in: float
    begun_before: bool

    def ring_in(self) -> float:
        """Seconds until it should be rung for: a first attempt had its own bell, a retry has nobody else."""
        return self.due_in if self.begun_before else self.due_in + UNHEARD_SECONDS


def heads() -> list[Head]:
    """Of every workspace that has a live task. One statement."""
    with connection.cursor() as cursor:
        cursor.execute(_HEADS)
        return [Head(*row) for row in cursor.fetchall()]


class Scheduler:
    """`run()` until `stop()`. `poll_interval` is the beat while something runs, `idle_interval` otherwise; seconds."""

    def __init__(
        self, *, guards: GuardPool, backoff_base: float, poll_interval: float = 1.0, idle_interval: float = 5.0
    ) -> None:
        self._guards = guards
        self._backoff_base = backoff_base
        self._poll_interval = poll_interval
        self._idle_interval = idle_interval
        self._rung: dict[str, tuple[str, float]] = {}
        self._stopping = threading.Event()
        self._actor = Actor.this_process("scheduler")

    def stop(self) -> None:
        """End run() within a beat."""
        self._stopping.set()

    def run(self) -> None:
        """Listen, look, ring, rescue. A lost connection is made anew; nothing but stop() ends it."""
        while not self._stopping.is_set():
            try:
                with psycopg.connect(direct_conninfo(application_name="wvs-scheduler"), autocommit=True) as listener:
                    listener.execute(f"LISTEN {WORK_CHANNEL}")
                    while not self._stopping.is_set():
                        self._listen(listener, self.beat())
            except (psycopg.Error, DatabaseError, InterfaceError) as error:
                log.warning("scheduler.disconnected", error=str(error))
                connection.close()
                self._stopping.wait(RECONNECT_SECONDS)
            except Exception:
                log.exception("scheduler.failed")
                connection.close()
                self._stopping.wait(RECONNECT_SECONDS)
        connection.close()

    def _listen(self, listener: psycopg.Connection, seconds: float) -> None:
        """Wait at most so long. News of work shortens it to half a beat: a burst is one reason to look."""
        until = time.monotonic() + seconds
        while not self._stopping.is_set():
            left = until - time.monotonic()
            if left <= 0:
                return
            # In slices, so that stop() is obeyed soon though nothing is heard.
            for notify in listener.notifies(timeout=min(left, 0.5), stop_after=1):
                log.debug("scheduler.heard", wsid=notify.payload)
                until = min(until, time.monotonic() + self._poll_interval / 2)

    def beat(self) -> float:
        """One look at every busy workspace; seconds until the next."""
        now = time.monotonic()
        found = heads()
        self._rung = {head.wsid: self._rung[head.wsid] for head in found if head.wsid in self._rung}
        wait = self._idle_interval
        for head in found:
            if head.status == Status.RUNNING:
                self._rescue_if_lost(head)
                wait = min(wait, self._poll_interval)
            else:
                wait = min(wait, self._ring_if_due(head, now))
        return max(wait, 0.01)

    def _ring_if_due(self, head: Head, now: float) -> float:
        """Ring for a due head that nobody has begun; seconds until it should be looked at again."""
        task_id, rung_at = self._rung.get(head.wsid, ("", 0.0))
        again = rung_at + UNHEARD_SECONDS - now if task_id == head.task_id else 0.0
        wait = max(head.ring_in(), again)
        if wait > 0:
            return wait
        doorbell.ring(head.wsid)
        self._rung[head.wsid] = (head.task_id, now)
        return UNHEARD_SECONDS

    def _rescue_if_lost(self, head: Head) -> None:
        """A RUNNING task whose RUN lock is free has lost its worker (G11)."""
        guard = self._guards.acquire(head.wsid)
        if guard is None:
            return
        try:
            if self._rescue(head):
                log.warning("task.rescued", task_id=head.task_id, wsid=head.wsid)
        except WvsError as error:
            log.warning("scheduler.locked_out", wsid=head.wsid, error=error.message)
        finally:
            self._guards.release(guard)
        doorbell.ring(head.wsid)

    @transaction.atomic
    def _rescue(self, head: Head) -> bool:
        hold_state(head.wsid)
        task = Task.objects.select_for_update().filter(pk=head.task_id, status=Status.RUNNING, fence=head.fence).first()
        if task is None:
            return False
        settlement.rescue(task, backoff_base=self._backoff_base, actor=self._actor)
        return True

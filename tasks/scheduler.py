"""The scheduler (SPEC §6): rings for due heads that nobody has begun, and rescues tasks whose worker is lost.

It only ever hints and heals: two of them at once are harmless, and one of them leads. It listens for new work; without
any it looks at the table once in an idle beat.
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
from tasks.heads import Head, heads
from tasks.leadership import Leadership
from tasks.locks import GuardPool, hold_state, run_holders, terminate_backend
from tasks.metrics import Rescue
from tasks.models import Task
from tasks.states import Status
from wvs_project.db import direct_conninfo
from wvs_project.errors import WvsError

UNHEARD_SECONDS: Final = 5.0
"""How long a bell may go unanswered before it is rung again; twice as long each time, while workers are busy."""
LONGEST_UNHEARD_SECONDS: Final = 60.0
RECONNECT_SECONDS: Final = 1.0
HUNG_SECONDS: Final = 30.0
"""How long past its deadline a worker may take to stop a run (5 s for the child, 20 s for its staging)."""
_SHORTEST_WAIT: Final = 0.01

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rung:
    """The last bell of ours for a head that was not begun since: when (monotonic seconds), the how manieth it was."""

    task_id: str
    fence: int | None
    at: float
    times: int

    @property
    def again_at(self) -> float:
        """When to ring again if nobody has begun it by then."""
        return self.at + min(UNHEARD_SECONDS * 2.0 ** (self.times - 1), LONGEST_UNHEARD_SECONDS)


class Scheduler:
    """`run()` until `stop()`. `poll_interval` is the beat while something runs, `idle_interval` otherwise; seconds."""

    def __init__(
        self, *, guards: GuardPool, backoff_base: float, poll_interval: float = 1.0, idle_interval: float = 5.0
    ) -> None:
        self._guards = guards
        self._backoff_base = backoff_base
        self._poll_interval = poll_interval
        self._idle_interval = idle_interval
        self._rung: dict[str, Rung] = {}
        self._hung: set[tuple[str, int | None]] = set()
        """The runs (task, fence) whose guard we ended."""
        self._broker_is_down = False
        self._leadership = Leadership()
        self._stopping = threading.Event()
        self._actor = Actor.this_process("scheduler")
        self.leading = threading.Event()
        """Set while this one leads."""

    def stop(self) -> None:
        """End run() at once. May be called from a signal handler."""
        self._stopping.set()
        self._leadership.interrupt()

    def run(self) -> None:
        """Stand by, lead: listen, look, ring, rescue. A lost connection is made anew; nothing but stop() ends it."""
        while not self._stopping.is_set():
            try:
                self._leadership.connect(direct_conninfo(application_name="wvs-scheduler"), WORK_CHANNEL)
                self._lead()
            except (psycopg.Error, DatabaseError, InterfaceError) as error:
                self._begin_anew("scheduler.disconnected", error=str(error))
            except Exception:
                log.exception("scheduler.failed")
                self._begin_anew("scheduler.begins_anew")
        self._leadership.close()
        connection.close()

    def _begin_anew(self, event: str, **said: str) -> None:
        connection.close()
        self._leadership.drop()
        if not self._stopping.is_set():
            log.warning(event, **said)
            self._stopping.wait(RECONNECT_SECONDS)

    def _lead(self) -> None:
        """Wait until we lead, then beat until the end of that. Raises whatever PostgreSQL says when it is gone."""
        log.info("scheduler.stands_by")
        while not self._leadership.take():
            if self._stopping.is_set():
                return
        log.info("scheduler.leads")
        self.leading.set()
        try:
            while not self._stopping.is_set():
                self._leadership.heartbeat()
                self._listen(self.beat())
        finally:
            self.leading.clear()

    def _listen(self, seconds: float) -> None:
        """Wait at most so long. News of work shortens it to half a beat: a burst is one reason to look."""
        until = time.monotonic() + seconds
        while not self._stopping.is_set() and (left := until - time.monotonic()) > 0:
            if self._leadership.hear(left):
                until = min(until, time.monotonic() + self._poll_interval / 2)

    def beat(self) -> float:
        """One look at every busy workspace; seconds until the next. Rescue comes first: it must not wait for a bell."""
        self._broker_is_down = False
        found = heads()
        running = [head for head in found if head.status == Status.RUNNING]
        self._rescue_the_lost(running)
        now = time.monotonic()
        self._rung = {head.wsid: self._rung[head.wsid] for head in found if head.wsid in self._rung}
        waits = [self._ring_if_due(head, now) for head in found if head.status != Status.RUNNING]
        # What is due may run at any moment, and its worker be lost in the next.
        busy = running or any(head.due_in <= 0 for head in found)
        return max(min([self._poll_interval if busy else self._idle_interval, *waits]), _SHORTEST_WAIT)

    def _ring_if_due(self, head: Head, now: float) -> float:
        """Ring for a due head that nobody has begun; seconds until it should be looked at again."""
        last = self._rung.get(head.wsid)
        # Begun since, it has another fence: the bell was heard, and a retry waits for no other.
        if last is not None and (last.task_id, last.fence) != (head.task_id, head.fence):
            last = None
        # A first attempt had a bell of its own, a retry has nobody else.
        first_at = now + head.due_in + (0.0 if head.begun_before else UNHEARD_SECONDS)
        wait = max(first_at, last.again_at if last else first_at) - now
        if wait > 0:
            return wait
        if not self._ring(head.wsid):
            return self._poll_interval
        rung = Rung(head.task_id, head.fence, now, last.times + 1 if last else 1)
        self._rung[head.wsid] = rung
        return rung.again_at - now

    def _ring(self, wsid: str) -> bool:
        """Ring, unless the broker did not answer in this beat: each try would hold up the rescue of others."""
        if not self._broker_is_down:
            self._broker_is_down = not doorbell.ring(wsid)
        return not self._broker_is_down

    def _rescue_the_lost(self, running: list[Head]) -> None:
        """A RUNNING task whose RUN lock is free has lost its worker (G11); one that is long past its time hangs."""
        holders = run_holders([head.wsid for head in running])
        self._hung &= {head.run for head in running}
        for head in running:
            holder = holders.get(head.wsid)
            if holder is None:
                self._rescue_if_lost(head)
            elif head.past_deadline > HUNG_SECONDS:
                # Its guard goes, and with it the lock: the next beat rescues. The fence keeps it from writing.
                log.error("worker.hangs", past_deadline=head.past_deadline, **head.about)
                terminate_backend(holder)
                self._hung.add(head.run)

    def _rescue_if_lost(self, head: Head) -> None:
        guard = self._guards.acquire(head.wsid)
        if guard is None:
            return
        try:
            self._rescue(head)
        except WvsError as error:
            log.warning("scheduler.locked_out", error=error.message, **head.about)
        finally:
            self._guards.release(guard)
        # Whoever was refused RUN meanwhile had a bell for nothing.
        self._ring(head.wsid)

    @transaction.atomic
    def _rescue(self, head: Head) -> None:
        hold_state(head.wsid)
        task = Task.objects.select_for_update().filter(pk=head.task_id, status=Status.RUNNING, fence=head.fence).first()
        if task is not None:
            reason = Rescue.WORKER_HUNG if head.run in self._hung else Rescue.WORKER_LOST
            settlement.rescue(task, backoff_base=self._backoff_base, actor=self._actor, reason=reason)

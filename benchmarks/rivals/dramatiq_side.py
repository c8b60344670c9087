"""Dramatiq's side of the queue's benchmark: its own Redis broker and middleware, jobs that do nothing, in any order.

`fill JOBS`, then `work THREADS JOBS`, which ends when so many are done and prints the seconds since the first began.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any, Final

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.rivals.asked import do
from benchmarks.stack import setting

_QUEUE: Final = "nothing"
_LIMIT: Final = 600.0


class Count:
    """How many are done, and when the first was begun."""

    def __init__(self, jobs: int) -> None:
        self._left = jobs
        self._lock = threading.Lock()
        self.all_done = threading.Event()
        self.began = 0.0
        self.ended = 0.0

    def one(self, number: int) -> None:
        """The job."""
        now = time.perf_counter()
        with self._lock:
            self.began = self.began or now
            self._left -= 1
            if self._left == 0:
                self.ended = now
                self.all_done.set()


def broker_with(count: Count) -> tuple[RedisBroker, Any]:
    """As Dramatiq comes, and its one actor."""
    broker = RedisBroker(url=setting("WVS_REDIS_URL"), namespace="bench-dramatiq")  # type: ignore[no-untyped-call]
    dramatiq.set_broker(broker)
    return broker, dramatiq.actor(actor_name="nothing", queue_name=_QUEUE, broker=broker)(count.one)


def fill(jobs: int) -> None:
    """So many messages."""
    _, actor = broker_with(Count(jobs))
    for number in range(jobs):
        actor.send(number)


def work(threads: int, jobs: int) -> None:
    """One process, until all are done."""
    count = Count(jobs)
    broker, _ = broker_with(count)
    worker = dramatiq.Worker(broker, worker_threads=threads)
    worker.start()
    if not count.all_done.wait(_LIMIT):
        raise TimeoutError(f"not done within {_LIMIT:g} s")
    worker.stop()
    broker.flush_all()
    print(json.dumps({"jobs": jobs, "seconds": count.ended - count.began}))


if __name__ == "__main__":
    sys.exit(do(__doc__, fill=fill, work=work))

"""A worker inside the benchmark's process, around an executor that does nothing but take the time."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from dramatiq import Worker, get_broker

from executor.contract import ExecuteTask, OperationName, Outcome, ProgressSink, StopSignal
from snapshots.services import create_snapshot
from tasks import actors
from tasks.audit import Actor
from tasks.idempotency import IdempotencyToken
from tasks.models import Task
from tasks.states import Status
from tasks.worker import QUEUE_TIMEOUT_MS, build_engine
from workspaces.services import create_workspace
from wvs_project.config import get_config

ACTOR = Actor("benchmark", "wakeup")
LIMIT = 30.0


class ClockingExecutor:
    """Notes when it is called: the claim is committed by then."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.called_at = 0.0

    def execute(self, request: ExecuteTask, *, stop: StopSignal, progress: ProgressSink) -> Outcome:
        """Do nothing, at once."""
        self.called_at = time.perf_counter()
        self.called.set()
        if request.op == OperationName.INIT_WORKSPACE:
            return Outcome(live_id="initial")
        return Outcome(entries=0, bytes=0, manifest_digest="")

    def probe(self, request: ExecuteTask, *, stop: StopSignal) -> Outcome | None:
        """Nothing was ever published."""
        return None

    def close(self) -> None:
        """Nothing to let go of."""


def _token() -> IdempotencyToken:
    return IdempotencyToken(key=uuid.uuid4().hex, request_hash="", request_id=f"bench-{uuid.uuid4()}")


@contextmanager
def serving() -> Iterator[Callable[[], float]]:
    """While inside: a function that accepts one task and returns the seconds from its commit to its execution."""
    executor = ClockingExecutor()
    engine = build_engine(get_config(), executor)
    actors.install(engine)
    worker = Worker(get_broker(), worker_threads=1, worker_timeout=QUEUE_TIMEOUT_MS)
    worker.start()
    wsid = f"bench-{uuid.uuid4().hex[:12]}"
    try:
        _finished(create_workspace(wsid=wsid, owner="benchmark", token=_token(), actor=ACTOR).accepted.task)
        yield lambda: _accept_and_run(wsid, executor)
    finally:
        worker.stop(timeout=int(LIMIT * 1000))
        engine.close()
        connection.close()


def _accept_and_run(wsid: str, executor: ClockingExecutor) -> float:
    committed: list[float] = []
    executor.called.clear()
    with transaction.atomic():
        # Before the service's own, so this runs first after the commit: the bell is part of what is measured.
        transaction.on_commit(lambda: committed.append(time.perf_counter()))
        task = create_snapshot(wsid=wsid, message="", token=_token(), actor=ACTOR).task
    if not executor.called.wait(LIMIT):
        raise TimeoutError(f"{task.task_id} was not begun within {LIMIT:g} s")
    _finished(task)
    return executor.called_at - committed[0]


def _finished(task: Task) -> None:
    end = time.monotonic() + LIMIT
    while not Task.objects.filter(pk=task.pk, status=Status.SUCCEEDED).exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{task.task_id} did not succeed within {LIMIT:g} s")
        time.sleep(0.005)

"""Engines around a fake executor, on real PostgreSQL and Valkey."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import structlog
from django_dramatiq.middleware import DbConnectionsMiddleware
from dramatiq import Message, get_broker
from dramatiq.middleware import AgeLimit

from executor import failpoints
from tasks import actors
from tasks.doorbell import QUEUE, DoorbellBroker
from tasks.engine import Engine
from tasks.locks import GuardPool
from tasks.scheduler import Scheduler
from tasks.supervisor import Supervisor
from tests.fakes import FakeExecutor
from wvs_project.db import direct_conninfo
from wvs_project.stack.valkey import ValkeyServer

BACKOFF = 5.0
"""As in production: a retry does not come by itself within a test."""


@pytest.fixture(autouse=True)
def logs(transactional_db: None) -> Iterator[list[Any]]:
    """What was logged. And before each test nothing waits on the queue, after it no failpoint is armed."""
    get_broker().flush(QUEUE)
    with structlog.testing.capture_logs() as captured:
        yield captured
    failpoints.disarm_all()


@pytest.fixture
def fake() -> FakeExecutor:
    return FakeExecutor()


@pytest.fixture
def make_engine(fake: FakeExecutor) -> Iterator[Callable[[], Engine]]:
    """Engines with guards and a supervisor of their own, as two worker processes have, and the same executor."""
    made: list[Engine] = []

    def make() -> Engine:
        engine = Engine(
            executor=fake,
            guards=GuardPool(direct_conninfo(application_name="wvs-guard")),
            supervisor=Supervisor(direct_conninfo(application_name="wvs-supervisor")),
            backoff_base=BACKOFF,
        )
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def engine(make_engine: Callable[[], Engine]) -> Engine:
    return make_engine()


@pytest.fixture
def guards() -> Iterator[GuardPool]:
    """Somebody else's guards."""
    pool = GuardPool(direct_conninfo(application_name="wvs-guard"))
    yield pool
    pool.close()


@pytest.fixture
def make_scheduler() -> Iterator[Callable[[], Scheduler]]:
    """Schedulers with guards of their own, as two processes have."""
    pools: list[GuardPool] = []

    def make() -> Scheduler:
        pools.append(GuardPool(direct_conninfo(application_name="wvs-rescue")))
        return Scheduler(guards=pools[-1], backoff_base=BACKOFF)

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def scheduler(make_scheduler: Callable[[], Scheduler]) -> Scheduler:
    return make_scheduler()


@pytest.fixture
def bells(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The wsids that were rung for, in order, as the broker got them."""
    rung: list[str] = []
    enqueue = DoorbellBroker.enqueue

    def listen(self: DoorbellBroker, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        rung.append(message.args[0])
        return enqueue(self, message, delay=delay)

    monkeypatch.setattr(DoorbellBroker, "enqueue", listen)
    return rung


@pytest.fixture
def valkey(workdir: Path) -> Iterator[ValkeyServer]:
    """A server that the test may stop."""
    server = ValkeyServer(workdir, log=workdir / "valkey.log", password="for-this-test")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def broker(valkey: ValkeyServer) -> Iterator[DoorbellBroker]:
    """The process's broker meanwhile."""
    old = dramatiq.get_broker()
    new = DoorbellBroker(url=valkey.url, middleware=[AgeLimit(), DbConnectionsMiddleware()], namespace="wvs")
    dramatiq.set_broker(new)
    new.declare_actor(actors.serve_workspace)
    yield new
    dramatiq.set_broker(old)
    new.close()
    new.client.close()

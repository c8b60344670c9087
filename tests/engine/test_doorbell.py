"""The bell: a hint that may be lost, doubled or late and changes nothing but time (SPEC §6)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from django.db import transaction
from django_dramatiq.middleware import DbConnectionsMiddleware
from dramatiq import Message, Worker
from dramatiq.common import current_millis
from dramatiq.middleware import AgeLimit

from tasks import actors, doorbell
from tasks.doorbell import ACTOR, MAX_AGE_MS, QUEUE, BlockingConsumer, DoorbellBroker
from tasks.engine import Engine
from tasks.models import Task
from tasks.states import Status
from tests.engine.world import status_of, wait_status
from tests.factories import ACTOR as TESTER
from tests.factories import make_task, make_workspace, new_token, new_wsid
from tests.fakes import FakeExecutor, Gate
from tests.waiting import InThread, eventually
from workspaces.services import create_workspace
from wvs_project.stack.valkey import ValkeyServer

pytestmark = pytest.mark.rule("SPEC §6")


def test_nothing_of_dramatiq_is_on_that_would_retry_record_or_interrupt_a_task() -> None:
    middleware = dramatiq.get_broker().middleware
    assert [type(one) for one in middleware] == [AgeLimit, DbConnectionsMiddleware]
    assert actors.serve_workspace.options == {"max_age": MAX_AGE_MS}


@pytest.fixture
def start_worker(broker: DoorbellBroker, engine: Engine) -> Iterator[Callable[..., Worker]]:
    """Real Dramatiq threads around the engine."""
    started: list[Worker] = []
    actors.install(engine)

    def start(*, threads: int = 1, prefetch: int = 1) -> Worker:
        worker = Worker(broker, worker_threads=threads, worker_timeout=50)
        worker.queue_prefetch = prefetch
        worker.start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.stop(timeout=30_000)


def _create() -> Task:
    return create_workspace(wsid=new_wsid(), owner="team-a", token=new_token(), actor=TESTER).accepted.task


def test_a_task_that_is_accepted_is_served_by_a_real_worker(start_worker: Callable[..., Worker]) -> None:
    start_worker(threads=2, prefetch=2)
    tasks = [_create() for _ in range(5)]
    for task in tasks:
        wait_status(task, Status.SUCCEEDED)


def test_the_bell_rings_when_the_transaction_is_committed_and_not_before(broker: DoorbellBroker) -> None:
    with transaction.atomic():
        _create()
        assert broker.do_qsize(QUEUE) == 0
    assert broker.do_qsize(QUEUE) == 1


def test_a_task_is_accepted_though_redis_is_down(broker: DoorbellBroker, valkey: ValkeyServer) -> None:
    valkey.stop()
    task = _create()
    assert status_of(task) is Status.PENDING
    assert doorbell.ring("ws-1") is False


def test_a_task_is_accepted_though_redis_answers_nothing(broker: DoorbellBroker, valkey: ValkeyServer) -> None:
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        task = _create()
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    assert status_of(task) is Status.PENDING


def test_a_worker_hears_again_after_redis_was_restarted(
    start_worker: Callable[..., Worker], valkey: ValkeyServer
) -> None:
    start_worker()
    wait_status(_create(), Status.SUCCEEDED)
    valkey.stop()
    unheard = _create()
    valkey.start()
    eventually(lambda: doorbell.ring(unheard.workspace_id), "the server to answer")
    wait_status(unheard, Status.SUCCEEDED)
    wait_status(_create(), Status.SUCCEEDED)


def test_a_consumer_reads_no_more_bells_than_it_may_hold(broker: DoorbellBroker) -> None:
    for number in range(4):
        doorbell.ring(f"ws-{number}")
    consumer = broker.consume(QUEUE, prefetch=2, timeout=50)
    assert isinstance(consumer, BlockingConsumer)
    first, second = next(consumer), next(consumer)
    assert first is not None
    assert second is not None
    assert (first.args, second.args) == (("ws-0",), ("ws-1",))
    assert next(consumer) is None
    assert broker.do_qsize(QUEUE) == 2
    consumer.ack(first)
    consumer.nack(second)
    assert [message.args for message in (next(consumer), next(consumer)) if message] == [("ws-2",), ("ws-3",)]
    consumer.close()


def test_a_consumer_that_hears_nothing_keeps_its_room(broker: DoorbellBroker) -> None:
    consumer = broker.consume(QUEUE, prefetch=1, timeout=10)
    assert [next(consumer) for _ in range(3)] == [None] * 3
    doorbell.ring("ws-1")
    assert next(consumer) is not None
    consumer.close()


def test_bells_that_were_read_and_not_served_are_rung_again_when_a_worker_stops(
    broker: DoorbellBroker, start_worker: Callable[..., Worker], engine: Engine, fake: FakeExecutor
) -> None:
    gate = Gate()
    fake.on_execute.append(gate)
    worker = start_worker(threads=1, prefetch=3)
    running = _create()
    gate.wait_entered()
    waiting = [_create() for _ in range(2)]
    eventually(lambda: broker.do_qsize(QUEUE) == 0, "the bells to be read")
    stopping = InThread(lambda: worker.stop(timeout=30_000))
    gate.open()
    stopping.result()
    assert status_of(running) is Status.SUCCEEDED
    served = [status_of(task) for task in waiting].count(Status.SUCCEEDED)
    assert broker.do_qsize(QUEUE) == 2 - served


def test_an_old_bell_is_dropped(broker: DoorbellBroker, start_worker: Callable[..., Worker]) -> None:
    stale, fresh = make_task(make_workspace()), make_task(make_workspace())
    old: Message[Any] = Message(
        queue_name=QUEUE,
        actor_name=ACTOR,
        args=(stale.workspace_id,),
        kwargs={},
        options={},
        message_timestamp=current_millis() - MAX_AGE_MS - 1000,
    )
    broker.enqueue(old)
    doorbell.ring(fresh.workspace_id)
    start_worker()
    wait_status(fresh, Status.SUCCEEDED)
    assert status_of(stale) is Status.PENDING


def test_when_nobody_listens_the_newest_bells_are_kept(broker: DoorbellBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "_MOST_BELLS", 3)
    for number in range(5):
        doorbell.ring(f"ws-{number}")
    consumer = broker.consume(QUEUE, prefetch=5, timeout=50)
    kept = [next(consumer) for _ in range(3)]
    assert [message.args[0] for message in kept if message] == ["ws-2", "ws-3", "ws-4"]
    consumer.close()


def test_a_message_that_cannot_be_read_costs_no_room(broker: DoorbellBroker) -> None:
    broker.client.rpush(broker.key(QUEUE), b"not a message")
    doorbell.ring("ws-1")
    consumer = broker.consume(QUEUE, prefetch=1, timeout=50)
    with pytest.raises(Exception, match=r".*"):
        next(consumer)
    assert next(consumer) is not None
    consumer.close()

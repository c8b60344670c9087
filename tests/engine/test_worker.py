"""A worker process's end: it takes nothing new, lets what runs finish, hands back the rest (SPEC §6, G12)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from dramatiq.worker import ConsumerThread

from tasks import doorbell
from tasks.doorbell import QUEUE, DoorbellBroker
from tasks.models import Task
from tasks.states import Status
from tasks.worker import WorkerProcess
from tests.engine.world import fresh, status_of, wait_status
from tests.factories import make_task, make_workspace
from tests.fakes import FakeExecutor, Gate
from tests.waiting import InThread, eventually
from wvs_project.config import get_config

pytestmark = pytest.mark.rule("G12")


@pytest.fixture
def held(fake: FakeExecutor) -> Gate:
    gate = Gate()
    fake.on_execute.append(gate)
    return gate


@pytest.fixture
def process_with(
    broker: DoorbellBroker, fake: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], WorkerProcess]:
    monkeypatch.setattr("tasks.worker.connect_executor", lambda addrs: fake)
    monkeypatch.setattr("tasks.worker.QUEUE_TIMEOUT_MS", 50)
    return lambda grace: WorkerProcess(replace(get_config(), worker_threads=2, worker_shutdown_timeout=grace))


def _consumers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, ConsumerThread)]


def _ring_for_new_task() -> Task:
    task = make_task(make_workspace())
    doorbell.ring(task.workspace_id)
    return task


def test_what_runs_may_finish_within_the_grace_time(
    process_with: Callable[[float], WorkerProcess], fake: FakeExecutor, held: Gate
) -> None:
    process = process_with(60.0)
    running = InThread(process.run)
    task = _ring_for_new_task()
    held.wait_entered()
    process.stop()
    held.open()
    running.result()
    assert status_of(task) is Status.SUCCEEDED
    assert fake.closed


def test_what_still_runs_after_the_grace_time_is_handed_back(
    process_with: Callable[[float], WorkerProcess], broker: DoorbellBroker, held: Gate
) -> None:
    process = process_with(0.0)
    running = InThread(process.run)
    task = _ring_for_new_task()
    held.wait_entered()
    process.stop()
    running.result()
    row = fresh(task)
    assert (row.state, row.attempt, row.outcome_unknown) == (Status.FAILED, 0, False)
    assert broker.do_qsize(QUEUE) >= 1


def test_a_worker_that_is_stopping_leaves_new_bells_to_others(
    process_with: Callable[[float], WorkerProcess], broker: DoorbellBroker, held: Gate
) -> None:
    process = process_with(60.0)
    running = InThread(process.run)
    _ring_for_new_task()
    held.wait_entered()
    process.stop()
    # While the run is still held.
    eventually(lambda: not _consumers(), "the worker to stop reading bells")
    left = _ring_for_new_task()
    held.open()
    running.result()
    assert status_of(left) is Status.PENDING
    assert broker.do_qsize(QUEUE) == 1


def test_the_bell_it_left_is_served_by_the_next_worker(process_with: Callable[[float], WorkerProcess]) -> None:
    task = _ring_for_new_task()
    process = process_with(60.0)
    running = InThread(process.run)
    wait_status(task, Status.SUCCEEDED)
    process.stop()
    running.result()

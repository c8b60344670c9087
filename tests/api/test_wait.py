"""GET /v1/tasks/{task_id}?wait=: answered by the finish, by the time, or for want of a place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks import waiting
from tasks.models import Task
from tasks.services import get_task
from tasks.states import FINISHED, Status
from tests.api.client import Answer, Api
from tests.factories import make_task, make_workspace
from tests.waiting import LIMIT, InThread, eventually
from wvs_project.config import get_config
from wvs_project.db import direct_conninfo
from wvs_project.errors import ErrorCode
from wvs_project.ids import new_task_id

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.rule("SPEC §4")]

LONGER_THAN_THE_TEST = 60
"""Seconds: a waiter that is not woken lets the test fail at its own limit."""


def wait_for(task: Task, seconds: float = LONGER_THAN_THE_TEST) -> InThread[Answer]:
    """A client that waits, in its place already."""
    before = waiting.listener().waiting
    thread = InThread(lambda: Api().get(f"/v1/tasks/{task.task_id}", {"wait": seconds}))
    eventually(lambda: waiting.listener().waiting > before or thread.is_over, "the client waits")
    return thread


def listening_pids() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'wvs-listen'"
        )
        return [row[0] for row in cursor.fetchall()]


def kill(pids: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [pids])


@pytest.mark.parametrize("to", FINISHED)
def test_the_finish_is_answered_at_once(to: Status) -> None:
    task = make_task(make_workspace(), status=Status.RUNNING)
    waiter = wait_for(task)
    task.move(to, result={"noop": True})
    body = waiter.result().found()
    assert (body["status"], body["result"]) == (to.value, {"noop": True})


def test_when_the_time_is_up_the_unfinished_task_is_answered(api: Api) -> None:
    task = make_task(make_workspace())
    answer = api.get(f"/v1/tasks/{task.task_id}", {"wait": "0.05"})
    assert answer.found()["status"] == "PENDING"
    assert "Retry-After" not in answer.headers


def test_one_finish_answers_its_own_waiters_only() -> None:
    mine, other = (make_task(make_workspace(), status=Status.RUNNING) for _ in range(2))
    waiters = [wait_for(mine), wait_for(mine)]
    bystander = wait_for(other)
    mine.move(Status.SUCCEEDED)
    assert {waiter.result().found()["status"] for waiter in waiters} == {"SUCCEEDED"}
    assert not bystander.is_over
    other.move(Status.SUCCEEDED)
    bystander.result().found()


def test_without_a_free_place_it_is_answered_at_once_and_asked_to_come_back(api: Api) -> None:
    task = make_task(make_workspace(), status=Status.RUNNING)
    with ExitStack() as taken:
        for _ in range(get_config().api_threads // 2):
            assert taken.enter_context(waiting.listener().place(new_task_id())) is not None
        answer = api.get(f"/v1/tasks/{task.task_id}", {"wait": LONGER_THAN_THE_TEST})
        assert (answer.found()["status"], answer.headers["Retry-After"]) == ("RUNNING", "1")
        task.move(Status.SUCCEEDED)
        finished = api.get(f"/v1/tasks/{task.task_id}", {"wait": LONGER_THAN_THE_TEST})
        assert "Retry-After" not in finished.headers
    wait_for(make_task(make_workspace(), status=Status.SUCCEEDED)).result().found()


def test_a_waiter_gives_its_place_back_however_it_ends(api: Api) -> None:
    for _ in range(get_config().api_threads):
        api.get(f"/v1/tasks/{new_task_id()}", {"wait": LONGER_THAN_THE_TEST}).refused(ErrorCode.NOT_FOUND)
    assert waiting.listener().waiting == 0
    task = make_task(make_workspace())
    assert "Retry-After" not in api.get(f"/v1/tasks/{task.task_id}", {"wait": "0.01"}).headers


def test_a_finished_task_is_answered_with_one_statement(api: Api) -> None:
    task = make_task(make_workspace(), status=Status.SUCCEEDED)
    with CaptureQueriesContext(connection) as queries:
        api.get(f"/v1/tasks/{task.task_id}", {"wait": LONGER_THAN_THE_TEST}).found()
    assert len(queries) == 1


def test_waiters_hold_no_connection_of_the_pool() -> None:
    task = make_task(make_workspace(), status=Status.RUNNING)
    waiters = [wait_for(task) for _ in range(6)]

    def only_ours_is_out() -> bool:
        stats = connection.pool.get_stats()  # type: ignore[attr-defined]
        return bool(stats["pool_size"] - stats["pool_available"] == 1)

    eventually(only_ours_is_out, "all connections but this thread's are back in the pool")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND application_name = 'wvs' AND state <> 'idle'"
        )
        assert cursor.fetchone() == (0,)
    # Of an earlier test's listener the server may still be taking leave.
    eventually(lambda: len(listening_pids()) == 1, "one LISTEN for all of them")
    task.move(Status.SUCCEEDED)
    for waiter in waiters:
        waiter.result().found()


def test_a_finish_between_the_first_look_and_the_wait_is_not_missed() -> None:
    task = make_task(make_workspace(), status=Status.RUNNING)
    looks: list[str] = []

    def look_and_then_it_finishes() -> Task:
        seen = get_task(task_id=task.task_id)
        if not looks:
            InThread(partial(task.move, Status.SUCCEEDED)).result()
        looks.append(seen.status)
        return seen

    read = partial(
        waiting.read_when,
        look_and_then_it_finishes,
        lambda row: row.state.is_finished,
        task_id=task.task_id,
        seconds=LONGER_THAN_THE_TEST,
    )
    row, waited = InThread(read).result()
    assert (row.status, waited, looks) == (Status.SUCCEEDED, True, ["RUNNING", "SUCCEEDED"])


def test_a_lost_connection_is_made_again_and_hears_the_finish() -> None:
    task = make_task(make_workspace(), status=Status.RUNNING)
    waiter = wait_for(task)
    lost = eventually(listening_pids, "somebody listens")
    kill(lost)
    eventually(lambda: set(listening_pids()) - set(lost), "somebody listens again")
    task.move(Status.SUCCEEDED)
    assert waiter.result().found()["status"] == "SUCCEEDED"


@pytest.fixture
def gated() -> Iterator[tuple[waiting.FinishListener, threading.Event]]:
    """A listener that connects while the gate is open."""
    gate = threading.Event()
    gate.set()

    def conninfo() -> str:
        gate.wait(LIMIT)
        return direct_conninfo(application_name="wvs-listen")

    listener = waiting.FinishListener(conninfo=conninfo, places=2)
    yield listener, gate
    gate.set()
    listener.close()


def test_a_finish_while_nobody_listens_is_looked_for_after_the_reconnect(
    gated: tuple[waiting.FinishListener, threading.Event],
) -> None:
    listener, gate = gated
    with listener.place("task-x") as news:
        assert news is not None
        news.clear()
        gate.clear()
        kill(eventually(listening_pids, "somebody listens"))
        eventually(lambda: not listening_pids(), "the connection is gone")
        assert not news.is_set()
        gate.set()
        assert news.wait(LIMIT)


def test_a_process_that_ends_answers_its_waiters_with_the_unfinished_task(api: Api) -> None:
    task = make_task(make_workspace(), status=Status.RUNNING)
    waiter = wait_for(task)
    waiting.listener().release()
    assert waiter.result().found()["status"] == "RUNNING"
    late = api.get(f"/v1/tasks/{task.task_id}", {"wait": LONGER_THAN_THE_TEST})
    assert late.found()["status"] == "RUNNING"


def test_a_closed_listener_starts_again_with_the_next_waiter() -> None:
    for _ in range(2):
        task = make_task(make_workspace(), status=Status.RUNNING)
        waiter = wait_for(task)
        task.move(Status.SUCCEEDED)
        waiter.result().found()
        waiting.listener().close()
        eventually(lambda: not listening_pids(), "the connection is closed")

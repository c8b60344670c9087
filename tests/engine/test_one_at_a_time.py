"""RUN(wsid): never two executions in one workspace, whoever rings and however often (SPEC §6)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import psycopg
import pytest

from tasks import engine as engine_module
from tasks.engine import Engine
from tasks.locks import Guard, GuardPool
from tasks.models import Task
from tasks.querysets import TaskQuerySet
from tasks.settlement import settle
from tasks.states import Status
from tests.engine.world import Held, guard_backends, query, status_of
from tests.factories import make_task, make_workspace
from tests.fakes import FakeExecutor, Gate
from tests.waiting import LIMIT, InThread, eventually
from wvs_project.db import direct_conninfo


@pytest.mark.rule("G5")
def test_a_second_worker_leaves_a_workspace_alone_while_the_first_executes(
    make_engine: Callable[[], Engine], fake: FakeExecutor
) -> None:
    one, other = make_engine(), make_engine()
    workspace = make_workspace()
    first, second = make_task(workspace), make_task(workspace)
    held = Held(one, fake, first)
    other.serve(workspace.wsid)
    assert [request.task_id for request in fake.executed] == [first.task_id]
    assert status_of(first) is Status.RUNNING
    assert status_of(second) is Status.PENDING
    held.end()
    assert status_of(second) is Status.SUCCEEDED


@pytest.mark.rule("G5")
def test_a_storm_of_bells_for_two_workers_never_runs_two_tasks_at_once(
    make_engine: Callable[[], Engine], fake: FakeExecutor
) -> None:
    engines = [make_engine(), make_engine()]
    workspace = make_workspace()
    tasks = [make_task(workspace) for _ in range(24)]
    barrier = threading.Barrier(8)

    def ring_on_and_on(engine: Engine) -> None:
        barrier.wait(LIMIT)
        while Task.objects.live().exists():
            engine.serve(workspace.wsid)

    threads = [InThread(partial(ring_on_and_on, engines[number % 2])) for number in range(8)]
    for thread in threads:
        thread.result()
    assert fake.most_at_once[workspace.wsid] == 1
    assert [request.task_id for request in fake.executed] == [task.task_id for task in tasks]


@pytest.mark.rule("G5")
def test_run_is_held_until_the_result_is_written(engine: Engine, fake: FakeExecutor, guards: GuardPool) -> None:
    task = make_task(make_workspace())
    after = Gate()
    fake.after = after
    serving = InThread(lambda: engine.serve(task.workspace_id))
    after.wait_entered()
    assert guards.acquire(task.workspace_id) is None
    after.open()
    serving.result()
    guard = guards.acquire(task.workspace_id)
    assert guard is not None
    guards.release(guard)


@pytest.mark.rule("SPEC §6")
def test_a_task_whose_bell_found_run_taken_is_served_by_who_holds_it(
    engine: Engine, fake: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worst moment: it has looked and found nothing more, and has not yet let go.
    workspace = make_workspace()
    first = make_task(workspace)
    late: list[Task] = []

    def settle_and_be_late(task: Task, decide: Callable[[Task], None]) -> bool:
        settled = settle(task, decide)
        if not late:
            late.append(make_task(workspace))
            engine.serve(workspace.wsid)
            assert status_of(late[0]) is Status.PENDING
        return settled

    monkeypatch.setattr(engine_module, "settle", settle_and_be_late)
    engine.serve(workspace.wsid)
    assert status_of(first) is Status.SUCCEEDED
    assert status_of(late[0]) is Status.SUCCEEDED


@pytest.mark.rule("SPEC §6")
def test_run_is_let_go_before_the_holder_looks_again(
    engine: Engine, guards: GuardPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wsid = make_workspace().wsid
    free: list[bool] = []

    def look(self: TaskQuerySet, looked_at: str) -> bool:
        guard = guards.acquire(looked_at)
        free.append(guard is not None)
        if guard is not None:
            guards.release(guard)
        return False

    monkeypatch.setattr(TaskQuerySet, "has_due_head", look)
    engine.serve(wsid)
    assert free == [True]


def _colliding_wsids() -> tuple[str, str]:
    """Two whose 32-bit hashes are equal."""
    rows = query(
        "SELECT min(id), max(id) FROM (SELECT 'ws-' || n AS id FROM generate_series(1, 300000) n) ids "
        "GROUP BY hashtext(id) HAVING count(*) > 1 LIMIT 1"
    )
    return rows[0][0], rows[0][1]


@pytest.mark.rule("P2-04")
def test_two_workspaces_whose_32_bit_hashes_collide_do_not_block_each_other(engine: Engine, fake: FakeExecutor) -> None:
    one, other = _colliding_wsids()
    assert query("SELECT hashtext(%s) = hashtext(%s)", one, other) == [(True,)]
    held = Held(engine, fake, make_task(make_workspace(one)))
    task = make_task(make_workspace(other))
    engine.serve(other)
    assert status_of(task) is Status.SUCCEEDED
    held.end()


@pytest.mark.rule("P2-04")
def test_the_lock_is_the_64_bit_hash_of_the_wsid(guards: GuardPool) -> None:
    guard = guards.acquire("ws-hashed")
    assert guard is not None
    keys = query(
        "SELECT (classid::bigint << 32) | objid::bigint, objsubid FROM pg_locks "
        "WHERE locktype = 'advisory' AND pid = %s",
        guard.backend_pid,
    )
    assert keys == [(query("SELECT hashtextextended('ws-hashed', 1)")[0][0], 1)]
    guards.release(guard)


@pytest.mark.rule("I10")
def test_a_guard_never_holds_back_vacuum(engine: Engine, fake: FakeExecutor) -> None:
    helds = [Held(engine, fake, make_task(make_workspace())) for _ in range(3)]
    rows = query("SELECT state, backend_xmin, backend_xid FROM pg_stat_activity WHERE pid = ANY(%s)", guard_backends())
    assert rows == [("idle in transaction", None, None)] * 3
    for held in helds:
        held.end()
    assert guard_backends() == []


@pytest.mark.rule("SPEC §6")
def test_the_servers_time_out_for_idle_transactions_does_not_free_run(guards: GuardPool) -> None:
    guard = guards.acquire("ws-1")
    assert guard is not None
    with Guard(direct_conninfo(application_name="wvs-guard"))._connection as own:
        assert own.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("0",)
    guards.release(guard)


@pytest.mark.rule("SPEC §6")
def test_guards_that_died_while_idle_are_replaced(engine: Engine) -> None:
    first, second = make_task(make_workspace()), make_task(make_workspace())
    engine.serve(first.workspace_id)
    killed = query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wvs-guard'")
    assert killed == [(True,)]
    eventually(lambda: not query("SELECT 1 FROM pg_stat_activity WHERE application_name = 'wvs-guard'"))
    engine.serve(second.workspace_id)
    assert status_of(second) is Status.SUCCEEDED


def test_a_guard_that_was_let_go_after_its_connection_died_is_not_used_again(guards: GuardPool) -> None:
    guard = guards.acquire("ws-1")
    assert guard is not None
    query("SELECT pg_terminate_backend(%s)", guard.backend_pid)
    guards.release(guard)
    with pytest.raises(psycopg.OperationalError):
        guard.try_run("ws-1")
    again = guards.acquire("ws-1")
    assert again is not None
    guards.release(again)

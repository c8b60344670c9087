"""Apply: all or nothing, and only for the run that the row still names (G9, P1-01)."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.db.backends.postgresql.base import DatabaseWrapper

from executor import failpoints
from executor.contract import ExecuteTask, StopSignal
from executor.failpoints import FailpointError
from snapshots.models import Snapshot
from tasks.engine import Engine
from tasks.models import AuditEvent, Op, Task
from tasks.states import Status
from tests.engine.world import Held, fresh, query, status_of
from tests.factories import make_snapshot, make_task, make_workspace
from tests.fakes import FakeExecutor
from tests.waiting import InThread
from workspaces.models import Workspace
from wvs_project.db import direct_conninfo

_APPLY = ["engine.executed", *(point for point in failpoints.ENGINE_POINTS if point.startswith("engine.apply."))]
_OPS = [Op.INIT_WORKSPACE, Op.SNAPSHOT_CREATE, Op.SET_CURRENT]


def _fail_at(point: str) -> None:
    def step() -> None:
        raise FailpointError(point)

    failpoints.arm(point, step)


def _task(op: str) -> Task:
    """A task whose apply has something to write."""
    if op == Op.INIT_WORKSPACE:
        return make_task(make_workspace(state="PROVISIONING"), op)
    workspace = make_workspace()
    return make_task(workspace, op, snapshot=make_snapshot(workspace) if op == Op.SET_CURRENT else None)


class Before:
    """What apply might write, as it was."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._was = self._look()

    def _look(self) -> list[Any]:
        wsid = self._task.workspace_id
        return [
            list(Workspace.objects.filter(pk=wsid).values()),
            list(Snapshot.objects.filter(workspace_id=wsid).order_by("pk").values()),
            AuditEvent.objects.filter(task_id=self._task.task_id).count(),
        ]

    def assert_nothing_written(self) -> None:
        row = fresh(self._task)
        assert (row.state, row.result, row.ended_at) == (Status.RUNNING, None, None)
        assert self._look() == self._was


@pytest.mark.rule("G9")
@pytest.mark.parametrize("op", _OPS)
@pytest.mark.parametrize("point", _APPLY[:-1])
def test_a_crash_at_a_step_of_apply_leaves_nothing_written(
    engine: Engine, fake: FakeExecutor, op: Op, point: str
) -> None:
    task = _task(op)
    before = Before(task)
    _fail_at(point)
    engine.serve(task.workspace_id)
    assert task.task_id in fake.published
    before.assert_nothing_written()


@pytest.mark.rule("G9")
@pytest.mark.parametrize("op", _OPS)
def test_a_crash_between_any_two_statements_of_apply_leaves_nothing_written(
    engine: Engine, fake: FakeExecutor, op: Op
) -> None:
    left: list[int] = []

    def begin_to_count(request: ExecuteTask, stop: StopSignal) -> None:
        left.append(crashes)

    def crash(run: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if left:
            if left[0] == 0:
                raise FailpointError(sql)
            left[0] -= 1
        return run(sql, params, many, context)

    fake.after = begin_to_count
    for crashes in range(50):  # noqa: B007 — begin_to_count reads it
        task = _task(op)
        before = Before(task)
        left.clear()
        with connection.execute_wrapper(crash):
            engine.serve(task.workspace_id)
        left.clear()
        if status_of(task) is Status.SUCCEEDED:
            break
        before.assert_nothing_written()
    # STATE, the row, at least one effect, the task, its finish, the audit.
    assert crashes >= 6
    assert status_of(task) is Status.SUCCEEDED


@pytest.mark.rule("G9")
def test_a_crash_after_the_commit_of_apply_changes_nothing(engine: Engine) -> None:
    task = _task(Op.SNAPSHOT_CREATE)
    _fail_at("engine.apply.committed")
    engine.serve(task.workspace_id)
    assert status_of(task) is Status.SUCCEEDED
    assert Snapshot.objects.count() == 1


def _overtake(task: Task, *, to: Status) -> None:
    """As if the worker had been taken for dead: rescued, and perhaps claimed by another."""
    query(
        "UPDATE tasks SET status = 'FAILED', outcome_unknown = true, next_run_at = clock_timestamp() + '1 hour' "
        "WHERE task_id = %s RETURNING 1",
        task.task_id,
    )
    if to is Status.RUNNING:
        query(
            "UPDATE tasks SET status = 'RUNNING', fence = nextval('task_fence') WHERE task_id = %s RETURNING 1",
            task.task_id,
        )


@pytest.mark.rule("G9")
@pytest.mark.parametrize("to", [Status.FAILED, Status.RUNNING])
@pytest.mark.parametrize("op", _OPS)
def test_a_run_that_was_overtaken_applies_nothing(engine: Engine, fake: FakeExecutor, op: Op, to: Status) -> None:
    task = _task(op)
    held = Held(engine, fake, task)
    _overtake(task, to=to)
    overtaken = fresh(task)
    before = Before(task)
    held.end()
    row = fresh(task)
    assert (row.state, row.fence, row.outcome_unknown) == (to, overtaken.fence, True)
    assert before._look() == before._was


@pytest.mark.rule("G9")
@pytest.mark.parametrize("op", _OPS)
def test_when_the_answer_to_the_commit_is_lost_the_row_says_what_was_done(
    engine: Engine, fake: FakeExecutor, op: Op, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _task(op)
    _lose_answer_of_commit_after(fake, monkeypatch)
    engine.serve(task.workspace_id)
    assert status_of(task) is Status.SUCCEEDED
    assert len(fake.executed) == 1
    assert AuditEvent.objects.filter(task_id=task.task_id).count() == 1


def _lose_answer_of_commit_after(fake: FakeExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next commit after the executor has answered is done, and yet ends as a lost connection does."""
    commit = DatabaseWrapper.commit

    def commit_and_lose(self: DatabaseWrapper) -> None:
        monkeypatch.setattr(DatabaseWrapper, "commit", commit)
        commit(self)
        raise OperationalError("server closed the connection unexpectedly")

    def lose(request: ExecuteTask, stop: StopSignal) -> None:
        monkeypatch.setattr(DatabaseWrapper, "commit", commit_and_lose)

    fake.after = lose


@pytest.mark.rule("G9")
@pytest.mark.parametrize("point", ["engine.executed", "engine.apply.effects", "engine.apply.audited"])
def test_a_connection_that_dies_during_apply_is_made_anew_and_all_is_applied_once(
    engine: Engine, fake: FakeExecutor, point: str
) -> None:
    task = _task(Op.SNAPSHOT_CREATE)
    killed: list[int] = []

    def kill_once() -> None:
        if not killed:
            killed.append(connection.connection.info.backend_pid)
            with psycopg.connect(direct_conninfo(application_name="killer"), autocommit=True) as killer:
                killer.execute("SELECT pg_terminate_backend(%s, 10000)", killed)

    failpoints.arm(point, kill_once)
    engine.serve(task.workspace_id)
    assert killed
    assert status_of(task) is Status.SUCCEEDED
    assert Snapshot.objects.get().created_by == task.task_id
    assert AuditEvent.objects.filter(task_id=task.task_id).count() == 1


@pytest.mark.rule("P1-01")
def test_set_current_changes_the_pointer_and_the_path_in_one_transaction(engine: Engine, fake: FakeExecutor) -> None:
    task = _task(Op.SET_CURRENT)
    old = Workspace.objects.values_list("current_snapshot_id", "current_path").get()
    seen: list[Any] = []

    def look() -> None:
        rows = InThread(lambda: Workspace.objects.values_list("current_snapshot_id", "current_path").get())
        seen.append(rows.result())

    failpoints.arm("engine.apply.effects", look)
    failpoints.arm("engine.apply.audited", look)
    engine.serve(task.workspace_id)
    workspace = Workspace.objects.get()
    assert seen == [old, old]
    assert workspace.current_snapshot_id == task.params["snapshot_id"]
    assert workspace.current_path == workspace.live_path(task.task_id.replace("task-", "live-"))
    result = fresh(task).result
    assert result is not None
    assert (result["current_path"], result["previous_path"]) == (workspace.current_path, old[1])


@pytest.mark.rule("SPEC §4")
def test_set_current_to_what_is_current_is_a_no_op_and_clones_nothing(engine: Engine, fake: FakeExecutor) -> None:
    first = _task(Op.SET_CURRENT)
    engine.serve(first.workspace_id)
    path = Workspace.objects.get().current_path
    second = make_task(first.workspace, Op.SET_CURRENT, snapshot=first.params["snapshot_id"])
    engine.serve(first.workspace_id)
    row = fresh(second)
    assert row.state is Status.SUCCEEDED
    assert row.result == {"noop": True, "snapshot_id": first.params["snapshot_id"], "current_path": path}
    assert len(fake.executed) == 1
    assert Workspace.objects.get().current_path == path


@pytest.mark.rule("SPEC §4")
def test_a_fresh_set_current_clones_again_and_moves_the_path(engine: Engine, fake: FakeExecutor) -> None:
    first = _task(Op.SET_CURRENT)
    engine.serve(first.workspace_id)
    snapshot_id = first.params["snapshot_id"]
    second = make_task(first.workspace, Op.SET_CURRENT, snapshot=snapshot_id, params={"fresh": True})
    engine.serve(first.workspace_id)
    assert status_of(second) is Status.SUCCEEDED
    assert len(fake.executed) == 2
    workspace = Workspace.objects.get()
    assert workspace.current_snapshot_id == snapshot_id
    assert workspace.current_path == workspace.live_path(second.task_id.replace("task-", "live-"))


@pytest.mark.rule("SPEC §5")
def test_the_end_of_a_task_is_in_the_audit_trail_with_the_worker(engine: Engine) -> None:
    task = _task(Op.SNAPSHOT_CREATE)
    engine.serve(task.workspace_id)
    event = AuditEvent.objects.get(task_id=task.task_id)
    assert (event.action, event.request_id) == ("workspace.snapshot_create", task.request_id)
    assert event.actor["type"] == "worker"
    assert event.payload["after"] == {"status": "SUCCEEDED", "attempt": 1}

"""What engine tests ask of the world, in the words of the tests."""

from __future__ import annotations

from typing import Any

from django.db import connection

from executor.contract import ExecuteTask
from snapshots.models import Snapshot
from tasks.engine import Engine
from tasks.models import Op, Task
from tasks.registry import operation_for
from tasks.states import Status
from tests.factories import make_snapshot, make_task, make_workspace
from tests.fakes import FakeExecutor, Gate
from tests.waiting import InThread, eventually
from workspaces.models import Workspace


def query(statement: str, *args: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, args)
        return list(cursor.fetchall())


def status_of(task: Task) -> Status:
    """As the row says now."""
    return Status(Task.objects.only("status").get(pk=task.pk).status)


def fresh(task: Task) -> Task:
    """The row as it is now."""
    return Task.objects.get(pk=task.pk)


def lost(workspace: Workspace, op: str = Op.SNAPSHOT_CREATE, **fields: Any) -> Task:
    """A task whose worker was lost while it ran: RUNNING, and nobody holds RUN."""
    return make_task(workspace, op, status=Status.RUNNING, **fields)


def unknown(workspace: Workspace, op: str = Op.SNAPSHOT_CREATE, **fields: Any) -> Task:
    """A task of which nobody knows whether it was published; due."""
    return make_task(workspace, op, status=Status.FAILED, **({"outcome_unknown": True} | fields))


class Held:
    """A task that an engine executes, held in the executor until `gate.open()`."""

    def __init__(self, engine: Engine, fake: FakeExecutor, task: Task, gate: Gate | None = None) -> None:
        self.gate = gate or Gate()
        fake.on_execute.append(self.gate)
        wsid = task.workspace_id
        self.thread = InThread(lambda: engine.serve(wsid))
        self.gate.wait_entered()

    def end(self) -> None:
        """Open the gate and wait for the engine to be done with the bell."""
        self.gate.open()
        self.thread.result()


def guard_backends() -> list[int]:
    """The server processes that hold a RUN lock."""
    return [
        row[0]
        for row in query(
            "SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l USING (pid) "
            "WHERE l.locktype = 'advisory' AND a.application_name = 'wvs-guard'"
        )
    ]


def wait_status(task: Task, status: Status) -> None:
    """Until the row says so."""
    eventually(lambda: status_of(task) is status, f"{task} to be {status}")


def workspace_with_snapshot() -> tuple[Workspace, Snapshot]:
    """An ACTIVE workspace and a snapshot of it that is not current."""
    workspace = make_workspace()
    return workspace, make_snapshot(workspace)


def request_of(task: Task) -> ExecuteTask:
    """What the executor was asked by the attempt that the row tells of."""
    return operation_for(task.op).request(fresh(task))


def wait_listening() -> None:
    """Until a supervisor listens for cancels and has looked at the table once."""
    eventually(
        lambda: query(
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'wvs-supervisor' AND state = 'idle' "
            "AND query LIKE 'SELECT task_id FROM tasks%%'"
        ),
        "a supervisor to listen",
    )

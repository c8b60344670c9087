"""Who meets a run, on which rows, and what must be true afterwards (ENGINE "Invariants, ways to show them")."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from executor.contract import ExecutorFault, FaultReason
from snapshots.models import Snapshot
from tasks import settlement
from tasks.engine import Run
from tasks.models import AuditEvent, Task
from tasks.registry import operation_for
from tasks.services import cancel_task
from tasks.states import Status
from tests.engine.world import fresh
from tests.factories import ACTOR, make_due, make_task
from tests.fakes import outcome_of
from tests.interleavings.stage import Scene
from tests.interleavings.world import BACKOFF, Result, World, code_of, staged
from workspaces.models import Workspace
from wvs_project.errors import ErrorCode

# — claim × cancel —


def claim_and_cancel(world: World, *, status: Status) -> Scene:
    """A canceled task never runs; one that runs is asked to stop (P1-02, G14)."""
    workspace, _ = staged()
    task = make_task(workspace, status=status)

    def check(run: Result, canceled: Result) -> str:
        row = fresh(task)
        assert isinstance(canceled, Task)
        assert row.cancel_requested
        assert canceled.status == row.status
        if isinstance(run, Run):
            assert (row.state, row.fence) == (Status.RUNNING, run.task.fence), f"it runs, and the row says {row.status}"
        else:
            assert row.state is Status.CANCELED
            assert row.fence == task.fence
        return row.status

    return Scene(
        partial(world.claim, world.worker, workspace.wsid),
        partial(cancel_task, task_id=task.task_id, actor=ACTOR, request_id="req-1"),
        check,
    )


# — rescue × apply, rescue × claim —


def _lost(workspace: Workspace, **fields: Any) -> tuple[Task, Callable[[], bool]]:
    """A task of which RUN is free though it runs, and the apply that its worker still has in its hands."""
    task = make_task(workspace, status=Status.RUNNING, **fields)
    outcome = outcome_of(operation_for(task.op).request(task))
    return task, partial(settlement.settle, task, partial(settlement.apply, outcome=outcome))


def _ends_told(task: Task) -> int:
    return AuditEvent.objects.filter(task_id=task.task_id, action=operation_for(task.op).audit_action).count()


def _rescues(task: Task) -> int:
    return AuditEvent.objects.filter(task_id=task.task_id, action="task.rescue").count()


def _made(task: Task) -> int:
    return Snapshot.objects.filter(created_by=task.task_id).count()


def apply_and_rescue(world: World) -> Scene:
    """The run ends once: by its worker, with all that belongs to it, or by the rescue, with nothing (G9)."""
    workspace, _ = staged()
    task, apply = _lost(workspace)

    def check(applied: Result, _: Result) -> str:
        row = fresh(task)
        written = (row.state, row.outcome_unknown, _made(task), _ends_told(task), _rescues(task))
        assert written == ((Status.SUCCEEDED, False, 1, 1, 0) if applied else (Status.FAILED, True, 0, 0, 1))
        return row.status

    return Scene(apply, world.scheduler().beat, check)


def apply_and_heir(world: World) -> Scene:
    """A zombie changes nothing, even when the task runs again: the fence tells the two runs apart (I8, G9)."""
    workspace, _ = staged()
    task, apply = _lost(workspace)

    def rescue_and_claim() -> Run | None:
        world.scheduler().beat()
        make_due(task)
        return world.claim(world.other_worker, workspace.wsid)

    def check(applied: Result, heir: Result) -> str:
        row = fresh(task)
        if isinstance(heir, Run):
            assert not applied, "the run of the heir was ended by the zombie"
            assert (row.state, row.fence, _made(task), _ends_told(task)) == (Status.RUNNING, heir.task.fence, 0, 0)
        else:
            assert applied
            assert (row.state, row.fence, _made(task), _rescues(task)) == (Status.SUCCEEDED, task.fence, 1, 0)
        return row.status

    return Scene(apply, rescue_and_claim, check)


def claim_and_rescue(world: World, *, cancel_requested: bool) -> Scene:
    """Worker and scheduler find the same lost task: it is rescued once, and what is due has a bell or is done."""
    workspace, _ = staged()
    task, _apply = _lost(workspace, cancel_requested=cancel_requested)

    def check(_: Result, __: Result) -> str:
        row = fresh(task)
        assert _rescues(task) == 1
        _nothing_is_forgotten(world, workspace)
        if not cancel_requested:
            assert (row.state, row.outcome_unknown, row.fence) == (Status.FAILED, True, task.fence)
        else:
            assert row.state in (Status.FAILED, Status.CANCELED)
        assert row.attempt == 1
        return row.status

    return Scene(partial(world.worker._serve, workspace.wsid), world.scheduler().beat, check)


def _nothing_is_forgotten(world: World, workspace: Workspace) -> None:
    """A due head that nobody runs has a bell that nobody has answered yet."""
    heard = any(wsid == workspace.wsid for _, wsid in world.bells.rung)
    assert heard or not Task.objects.has_due_head(workspace.wsid), "a due task, and nobody will look"


# — cancel × apply —


def apply_and_cancel(world: World) -> Scene:
    """What was published has succeeded, whoever asked for its cancel and when (G14)."""
    workspace, _ = staged()
    task, apply = _lost(workspace)

    def check(applied: Result, canceled: Result) -> str:
        row = fresh(task)
        assert applied is True
        assert (row.state, _made(task), _ends_told(task)) == (Status.SUCCEEDED, 1, 1)
        too_late = code_of(canceled) is ErrorCode.CONFLICT_LOCKED
        assert too_late or (isinstance(canceled, Task) and canceled.state is Status.RUNNING)
        assert row.cancel_requested is not too_late
        return "too late" if too_late else "asked"

    return Scene(apply, partial(cancel_task, task_id=task.task_id, actor=ACTOR, request_id="req-1"), check)


def fail_and_cancel(world: World) -> Scene:
    """A task with cancel_requested is never retried (SPEC §6)."""
    workspace, _ = staged()
    task, _apply = _lost(workspace)
    fault = ExecutorFault(FaultReason.CLONE_FAILED, "a test says so")
    fail = partial(settlement.settle, task, partial(settlement.fail, fault=fault, backoff_base=BACKOFF))

    def check(failed: Result, canceled: Result) -> str:
        row = fresh(task)
        assert failed is True
        assert isinstance(canceled, Task)
        assert (row.state, row.attempt) == (Status.CANCELED, 1)
        return f"while {canceled.status}"

    return Scene(fail, partial(cancel_task, task_id=task.task_id, actor=ACTOR, request_id="req-1"), check)

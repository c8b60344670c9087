"""What the services answer, by SPEC §4, from what the model remembers: pure.

Each gives the code of the refusal, the task of an earlier request with the same key, or None: accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from tests.model.state import ModelTask, ModelWorkspace
from wvs_project.errors import ErrorCode

Answer: TypeAlias = ErrorCode | ModelTask | None


@dataclass(frozen=True, slots=True)
class Request:
    """One asynchronous write."""

    op: str
    key: str
    snapshot_id: str | None = None
    fresh: bool = False
    message: str = ""

    @property
    def said(self) -> str:
        return f"{self.op} {self.snapshot_id} {self.fresh} {self.message}"


def replay(workspace: ModelWorkspace, request: Request) -> Answer:
    """A key that was used before decides before any other rule does."""
    earlier = workspace.find(request.op, request.key)
    if earlier is not None and earlier.said != request.said:
        return ErrorCode.CONFLICT_IDEMPOTENT_MISMATCH
    return earlier


def answer(workspace: ModelWorkspace, request: Request) -> Answer:
    """To a snapshot, a drop or a switch."""
    earlier = replay(workspace, request)
    if earlier is not None:
        return earlier
    if workspace.state == "DISABLED":
        return ErrorCode.GONE
    if workspace.state != "ACTIVE":
        return ErrorCode.PRECONDITION_FAILED
    if request.op == "snapshot_create":
        return None
    assert request.snapshot_id is not None
    if not workspace.keeps(request.snapshot_id):
        return ErrorCode.NOT_FOUND
    refers = {task.op for task in workspace.live if task.snapshot_id == request.snapshot_id}
    in_use = "snapshot_drop" in refers
    if request.op == "snapshot_drop":
        in_use = bool(refers) or workspace.current == request.snapshot_id
    return ErrorCode.CONFLICT_SNAPSHOT_IN_USE if in_use else None


def create_again(workspace: ModelWorkspace, request: Request) -> Answer:
    """To the creation of a workspace that exists."""
    return replay(workspace, request) or ErrorCode.CONFLICT_EXISTS


def retry_init(workspace: ModelWorkspace, request: Request) -> Answer:
    """Changes the state if it is accepted."""
    earlier = replay(workspace, request)
    if earlier is not None:
        return earlier
    if workspace.state == "DISABLED":
        return ErrorCode.GONE
    if workspace.state != "INIT_FAILED":
        return ErrorCode.PRECONDITION_FAILED
    workspace.state = "PROVISIONING"
    return None


def disable(workspace: ModelWorkspace) -> ErrorCode | None:
    """Repeatable; not while a task is live (G21)."""
    if workspace.state == "DISABLED":
        return None
    if workspace.live:
        return ErrorCode.PRECONDITION_FAILED
    workspace.before, workspace.state = workspace.state, "DISABLED"
    return None


def enable(workspace: ModelWorkspace) -> ErrorCode | None:
    """Back to the state before (H11)."""
    if workspace.state != "DISABLED":
        return ErrorCode.PRECONDITION_FAILED
    assert workspace.before is not None
    workspace.state, workspace.before = workspace.before, None
    return None


def cancel(workspace: ModelWorkspace, task: ModelTask) -> ErrorCode | None:
    """At once what nobody has begun or what surely was not published; else it is asked for."""
    if not task.is_live:
        return ErrorCode.CONFLICT_LOCKED
    marked = task.status == "FAILED" and not task.unknown and task.irrevocable
    if task.status == "RUNNING" or task.unknown or marked:
        # Asked for once more, it does not come sooner: a probe that failed waits its second.
        task.due |= marked or not task.cancel_requested
    else:
        task.status = "CANCELED"
        give_up(workspace, task)
    task.cancel_requested = True
    return None


def give_up(workspace: ModelWorkspace, task: ModelTask) -> None:
    """A workspace whose init does not succeed has a way out."""
    if task.op == "init_workspace" and workspace.state == "PROVISIONING":
        workspace.state = "INIT_FAILED"

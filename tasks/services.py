"""What callers can do with tasks: submit, cancel, retry (SPEC §6). Keyword-only, typed, atomic.

`submit_task` is called by the services of the apps above, which hold STATE(wsid) and have checked their own rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import IntegrityError, transaction

from observation import tracing
from tasks import bells, doorbell, story
from tasks.audit import Actor, record
from tasks.idempotency import IdempotencyToken, request_hash
from tasks.locks import hold_state
from tasks.models import Task
from tasks.registry import operation_for
from tasks.states import Status
from wvs_project.db import ClockTimestamp
from wvs_project.errors import Blocker, ErrorCode, WvsError
from wvs_project.ids import new_request_id, new_task_id

_REFUSED_BY: Final = {
    "tasks_ref_snapshot_is_live": ErrorCode.NOT_FOUND,
    "tasks_one_live_drop_per_snapshot": ErrorCode.CONFLICT_SNAPSHOT_IN_USE,
    "tasks_live_in_enabled_workspace": ErrorCode.GONE,
}


RETRY_ACTION: Final = "task.retry"


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted asynchronous write: its task, and whether it was accepted by an earlier request with the same key."""

    task: Task
    replayed: bool = False


def get_task(*, task_id: str) -> Task:
    """The task as it is now. Raises NOT_FOUND."""
    task = Task.objects.filter(pk=task_id).first()
    if task is None:
        raise WvsError(ErrorCode.NOT_FOUND, f"no task {task_id}")
    return task


def blocker(task: Task) -> Blocker:
    """How a task that stands in the way is named in an error's details."""
    return {"task_id": task.task_id, "op": task.op, "status": task.status}


def find_replay(*, wsid: str, op: str, token: IdempotencyToken) -> Task | None:
    """The task that this key made before, as it is now.

    Raises CONFLICT_IDEMPOTENT_MISMATCH when the key came with another request. The caller holds STATE(wsid).
    """
    task = Task.objects.with_key(wsid, op, token.key).first()
    if task is not None and task.request_hash != token.request_hash:
        raise WvsError(
            ErrorCode.CONFLICT_IDEMPOTENT_MISMATCH,
            f"the Idempotency-Key {token.key!r} was used for another request; use a fresh key for a new request",
            blockers=[blocker(task)],
        )
    return task


def submit_task(
    *,
    wsid: str,
    op: str,
    params: Mapping[str, object],
    token: IdempotencyToken,
    actor: Actor,
    audit_action: str | None = None,
    retries: str | None = None,
) -> Task:
    """Insert a task and its audit row, and ring on commit. The caller holds STATE(wsid) in its transaction.

    `audit_action` is given where the accepting action has another name than the operation; `retries` is the DEAD task
    whose wish it is, and then it is task.retry. A caller that forgot a
    rule is refused by PostgreSQL, in the API's words: NOT_FOUND, CONFLICT_SNAPSHOT_IN_USE, GONE.
    """
    if retries is not None:
        params = {**params, "retries": retries}
        audit_action = RETRY_ACTION
    task = _insert(
        task_id=new_task_id(),
        workspace_id=wsid,
        op=op,
        params=dict(params),
        idempotency_key=token.key,
        request_hash=token.request_hash,
        request_id=token.request_id,
        traceparent=token.traceparent or tracing.traceparent(),
        actor=actor.as_json(),
    )
    record(
        action=audit_action or operation_for(op).audit_action,
        wsid=wsid,
        actor=actor,
        request_id=token.request_id,
        task_id=task.task_id,
        after={"status": task.status, **params},
    )
    story.tell_on_commit(task, story.SUBMITTED)
    doorbell.ring_on_commit(wsid)
    return task


def _insert(**fields: Any) -> Task:
    try:
        return Task.objects.create(**fields)
    except IntegrityError as error:
        constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
        if constraint not in _REFUSED_BY:
            raise
        raise WvsError(
            _REFUSED_BY[constraint],
            f"workspace {fields['workspace_id']} or snapshot {fields['params'].get('snapshot_id')} does not allow it",
            blockers=[{"constraint": constraint}],
        ) from error


@transaction.atomic
def cancel_task(*, task_id: str, actor: Actor, request_id: str) -> Task:
    """Cancel what has not begun; ask what runs, or may have happened unnoticed, to stop (SPEC §4, §6).

    PENDING, or FAILED with a known outcome → CANCELED at once. RUNNING, or FAILED with an unknown one →
    cancel_requested, decided by a worker. Raises NOT_FOUND, or CONFLICT_LOCKED for a finished task.
    Locks: STATE, then the task row.
    """
    task = _lock_task(task_id)
    before = {"status": task.status, "cancel_requested": task.cancel_requested}
    if task.state.is_finished:
        raise WvsError(
            ErrorCode.CONFLICT_LOCKED, f"task {task_id} is finished: {task.status}", blockers=[blocker(task)]
        )
    if task.state is Status.PENDING or (task.state is Status.FAILED and not task.outcome_unknown):
        _cancel_now(task)
    elif not task.cancel_requested:
        _request_cancel(task)
    record(
        action="task.cancel",
        wsid=task.workspace_id,
        actor=actor,
        request_id=request_id,
        task_id=task_id,
        before=before,
        after={"status": task.status, "cancel_requested": task.cancel_requested},
    )
    return task


def _lock_task(task_id: str) -> Task:
    """STATE of its workspace, then its row, until the transaction ends. Raises NOT_FOUND, CONFLICT_LOCKED."""
    found = Task.objects.filter(pk=task_id).only("workspace_id").first()
    if found is None:
        raise WvsError(ErrorCode.NOT_FOUND, f"no task {task_id}")
    hold_state(found.workspace_id)
    return Task.objects.locking().get(pk=task_id)


def _cancel_now(task: Task) -> None:
    operation = operation_for(task.op)
    if task.state is Status.FAILED and operation.irrevocable:
        _request_cancel(task)
        return
    task.move(Status.CANCELED, cancel_requested=True)
    operation.give_up(task)
    # What waited behind it is the head now.
    doorbell.ring_on_commit(task.workspace_id)


def _request_cancel(task: Task) -> None:
    """A FAILED row becomes due, so that a worker probes and decides it; a RUNNING one is told."""
    Task.objects.filter(pk=task.pk).update(cancel_requested=True, next_run_at=ClockTimestamp())
    task.cancel_requested = True
    bells.announce_cancel(task.task_id)
    story.tell_on_commit(task, story.CANCEL_REQUESTED)
    if task.state is Status.FAILED:
        doorbell.ring_on_commit(task.workspace_id)


def retry_of(task: Task) -> Task | None:
    """The task that a retry of this one made, as it is now."""
    return Task.objects.with_key(task.workspace_id, task.op, _retry_key(task.task_id)).first()


def _retry_key(task_id: str) -> str:
    return f"retry:{task_id}"


@transaction.atomic
def retry_dead_task(*, task_id: str, actor: Actor, request_id: str = "") -> Accepted:
    """A new task for what a DEAD one was to do; the DEAD one stays as history (SPEC §6). For operators.

    Asked again, it answers with the same new task: a retry that died is retried by its own id. Raises NOT_FOUND,
    PRECONDITION_FAILED for a task that is not DEAD, and whatever refuses the wish itself today.
    Locks: STATE, then the task row.
    """
    task = _lock_task(task_id)
    if task.state is not Status.DEAD:
        raise WvsError(
            ErrorCode.PRECONDITION_FAILED,
            f"task {task_id} is {task.status}: only a DEAD task can be retried",
            blockers=[blocker(task)],
        )
    token = IdempotencyToken(
        key=_retry_key(task_id),
        request_hash=request_hash(method="RETRY", path=f"/v1/tasks/{task_id}", body={}),
        request_id=request_id or new_request_id(),
    )
    replay = find_replay(wsid=task.workspace_id, op=task.op, token=token)
    if replay is not None:
        return Accepted(replay, replayed=True)
    return Accepted(operation_for(task.op).again(task, token=token, actor=actor))

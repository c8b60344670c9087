"""What callers can do with workspaces (SPEC §4): verbs, keyword-only, typed, atomic.

Every one of them holds STATE(wsid) while it decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import IntegrityError, OperationalError, transaction

from tasks.audit import Actor, record
from tasks.idempotency import IdempotencyToken
from tasks.locks import lock_timeout_as_refusal
from tasks.models import Op, Task
from tasks.services import Accepted, blocker, find_replay, submit_task
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode, WvsError


@dataclass(frozen=True, slots=True)
class Provisioning:
    """A workspace that was asked for, and the task that makes it."""

    workspace: Workspace
    accepted: Accepted


def get_workspace(*, wsid: str) -> Workspace:
    """The workspace as it is now, in whatever state. Raises NOT_FOUND."""
    workspace = Workspace.objects.filter(pk=wsid).first()
    if workspace is None:
        raise WvsError(ErrorCode.NOT_FOUND, f"no workspace {wsid}")
    return workspace


def lock_workspace(wsid: str) -> Workspace:
    """STATE(wsid) until the transaction ends. Raises NOT_FOUND, or CONFLICT_LOCKED past the lock timeout."""
    try:
        workspace = Workspace.objects.lock_state(wsid)
    except OperationalError as error:
        refusal = lock_timeout_as_refusal(error, wsid)
        if refusal is None:
            raise
        raise refusal from error
    if workspace is None:
        raise WvsError(ErrorCode.NOT_FOUND, f"no workspace {wsid}")
    return workspace


def refuse_disabled(workspace: Workspace) -> None:
    """Raises GONE for a DISABLED workspace."""
    if workspace.state == WorkspaceState.DISABLED:
        raise WvsError(
            ErrorCode.GONE,
            f"workspace {workspace.wsid} is disabled; an operator can enable it",
            blockers=[{"wsid": workspace.wsid, "state": workspace.state}],
        )


def require_active(workspace: Workspace) -> None:
    """Raises GONE for a DISABLED workspace and PRECONDITION_FAILED for one that is not ACTIVE."""
    refuse_disabled(workspace)
    if workspace.state == WorkspaceState.ACTIVE:
        return
    live = [blocker(task) for task in Task.objects.of_workspace(workspace.wsid).live().in_order()[:20]]
    way_out = (
        "wait for its init task"
        if workspace.state == WorkspaceState.PROVISIONING
        else f"POST /v1/workspaces/{workspace.wsid}/retry-init"
    )
    raise WvsError(
        ErrorCode.PRECONDITION_FAILED,
        f"workspace {workspace.wsid} is {workspace.state}, not ACTIVE: {way_out}",
        blockers=[{"wsid": workspace.wsid, "state": workspace.state}, *live],
        retry_after=1 if workspace.state == WorkspaceState.PROVISIONING else None,
    )


def create_workspace(*, wsid: str, owner: str, token: IdempotencyToken, actor: Actor) -> Provisioning:
    """The workspace row, its init task and the audit row in one transaction (G19).

    Raises CONFLICT_EXISTS when the wsid is taken, CONFLICT_IDEMPOTENT_MISMATCH, and CONFLICT_LOCKED when another
    request that makes it was not done within lock_timeout.
    """
    try:
        return _create_workspace(wsid=wsid, owner=owner, token=token, actor=actor)
    except IntegrityError:
        # Another request made it between our look and our insert: look again, now it is there.
        return _create_workspace(wsid=wsid, owner=owner, token=token, actor=actor)
    except OperationalError as error:
        # The insert waits for a row of the same wsid that is not committed yet.
        refusal = lock_timeout_as_refusal(error, wsid)
        if refusal is None:
            raise
        raise refusal from error


@transaction.atomic
def _create_workspace(*, wsid: str, owner: str, token: IdempotencyToken, actor: Actor) -> Provisioning:
    try:
        workspace = lock_workspace(wsid)
    except WvsError as error:
        if error.code is not ErrorCode.NOT_FOUND:
            raise
    else:
        replay = find_replay(wsid=wsid, op=Op.INIT_WORKSPACE, token=token)
        if replay is None:
            raise WvsError(
                ErrorCode.CONFLICT_EXISTS,
                f"workspace {wsid} exists already",
                blockers=[{"wsid": wsid, "state": workspace.state}],
            )
        return Provisioning(workspace, Accepted(replay, replayed=True))
    workspace = Workspace.objects.create(wsid=wsid, root_path=Workspace.root_for(wsid), owner=owner)
    task = submit_task(wsid=wsid, op=Op.INIT_WORKSPACE, params={"owner": owner}, token=token, actor=actor)
    return Provisioning(workspace, Accepted(task))


@transaction.atomic
def retry_init(*, wsid: str, token: IdempotencyToken, actor: Actor, retries: str | None = None) -> Accepted:
    """INIT_FAILED → PROVISIONING with a new init task. Raises PRECONDITION_FAILED in any other state, GONE.

    `retries`: the DEAD task whose wish it is, if an operator retries it.
    """
    workspace = lock_workspace(wsid)
    replay = find_replay(wsid=wsid, op=Op.INIT_WORKSPACE, token=token)
    if replay is not None:
        return Accepted(replay, replayed=True)
    refuse_disabled(workspace)
    if workspace.state != WorkspaceState.INIT_FAILED:
        raise WvsError(
            ErrorCode.PRECONDITION_FAILED,
            f"workspace {wsid} is {workspace.state}: only INIT_FAILED can be retried",
            blockers=[{"wsid": wsid, "state": workspace.state}],
        )
    workspace.provision_again()
    return Accepted(
        submit_task(
            wsid=wsid,
            op=Op.INIT_WORKSPACE,
            params={"owner": workspace.owner},
            token=token,
            actor=actor,
            audit_action="workspace.retry_init",
            retries=retries,
        )
    )


@transaction.atomic
def disable_workspace(*, wsid: str, actor: Actor, request_id: str) -> Workspace:
    """Soft delete. Repeatable. Raises PRECONDITION_FAILED, naming them, while tasks are live (G21)."""
    workspace = lock_workspace(wsid)
    if workspace.state == WorkspaceState.DISABLED:
        return workspace
    live = list(Task.objects.of_workspace(wsid).live().in_order()[:100])
    if live:
        raise WvsError(
            ErrorCode.PRECONDITION_FAILED,
            f"workspace {wsid} has live tasks: wait for them or cancel them",
            blockers=[blocker(task) for task in live],
            retry_after=1,
        )
    before = workspace.state
    workspace.disable()
    _audit_state(workspace, "workspace.disable", before, actor, request_id)
    return workspace


@transaction.atomic
def enable_workspace(*, wsid: str, actor: Actor, request_id: str = "") -> Workspace:
    """DISABLED → the state before (H11), for operators. Raises PRECONDITION_FAILED when it is not DISABLED."""
    workspace = lock_workspace(wsid)
    if workspace.state != WorkspaceState.DISABLED:
        raise WvsError(
            ErrorCode.PRECONDITION_FAILED,
            f"workspace {wsid} is {workspace.state}, not DISABLED",
            blockers=[{"wsid": wsid, "state": workspace.state}],
        )
    workspace.enable()
    _audit_state(workspace, "workspace.enable", WorkspaceState.DISABLED, actor, request_id)
    return workspace


def _audit_state(workspace: Workspace, action: str, before: str, actor: Actor, request_id: str) -> None:
    record(
        action=action,
        wsid=workspace.wsid,
        actor=actor,
        request_id=request_id,
        before={"state": before},
        after={"state": workspace.state},
    )

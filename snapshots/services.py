"""What callers can do with snapshots (SPEC §4): verbs, keyword-only, typed, atomic.

Every one of them holds STATE(wsid) while it decides; what it decides on is read after the lock was taken (P0-01).
`retries` is the DEAD task whose wish it is, if an operator retries it.
"""

from __future__ import annotations

from django.db import transaction

from snapshots.models import Snapshot
from tasks.audit import Actor
from tasks.idempotency import IdempotencyToken
from tasks.models import Op, Task
from tasks.services import Accepted, blocker, find_replay, submit_task
from workspaces.models import Workspace
from workspaces.services import lock_workspace, require_active
from wvs_project.errors import Blocker, ErrorCode, WvsError
from wvs_project.ids import new_snapshot_id


def kept_snapshot(*, wsid: str, snapshot_id: str) -> Snapshot:
    """A snapshot of this workspace that is not dropped. Raises NOT_FOUND, also for another workspace's (G6).

    It says whether it is current.
    """
    snapshot = Snapshot.objects.of_workspace(wsid).kept().saying_which_is_current().filter(pk=snapshot_id).first()
    if snapshot is None:
        raise WvsError(ErrorCode.NOT_FOUND, f"workspace {wsid} has no snapshot {snapshot_id}")
    return snapshot


@transaction.atomic
def create_snapshot(
    *, wsid: str, message: str, token: IdempotencyToken, actor: Actor, retries: str | None = None
) -> Accepted:
    """Accept a snapshot of the workspace's current tree; its id is known at once. ACTIVE only."""
    workspace = lock_workspace(wsid)
    replay = find_replay(wsid=wsid, op=Op.SNAPSHOT_CREATE, token=token)
    if replay is not None:
        return Accepted(replay, replayed=True)
    require_active(workspace)
    params = {"snapshot_id": new_snapshot_id(), "message": message}
    return Accepted(
        submit_task(wsid=wsid, op=Op.SNAPSHOT_CREATE, params=params, token=token, actor=actor, retries=retries)
    )


@transaction.atomic
def drop_snapshot(
    *, wsid: str, snapshot_id: str, token: IdempotencyToken, actor: Actor, retries: str | None = None
) -> Accepted:
    """Accept a drop. Raises NOT_FOUND, or CONFLICT_SNAPSHOT_IN_USE naming what needs the snapshot (G7, G8)."""
    workspace = lock_workspace(wsid)
    replay = find_replay(wsid=wsid, op=Op.SNAPSHOT_DROP, token=token)
    if replay is not None:
        return Accepted(replay, replayed=True)
    require_active(workspace)
    kept_snapshot(wsid=wsid, snapshot_id=snapshot_id)
    in_the_way = what_needs(workspace, snapshot_id)
    if in_the_way:
        raise WvsError(
            ErrorCode.CONFLICT_SNAPSHOT_IN_USE,
            f"snapshot {snapshot_id} is in use",
            blockers=in_the_way,
            retry_after=1 if all("task_id" in blocker for blocker in in_the_way) else None,
        )
    params = {"snapshot_id": snapshot_id}
    return Accepted(
        submit_task(wsid=wsid, op=Op.SNAPSHOT_DROP, params=params, token=token, actor=actor, retries=retries)
    )


@transaction.atomic
def set_current(
    *, wsid: str, snapshot_id: str, fresh: bool, token: IdempotencyToken, actor: Actor, retries: str | None = None
) -> Accepted:
    """Accept a switch. Raises NOT_FOUND, or CONFLICT_SNAPSHOT_IN_USE when the snapshot is about to be dropped."""
    workspace = lock_workspace(wsid)
    replay = find_replay(wsid=wsid, op=Op.SET_CURRENT, token=token)
    if replay is not None:
        return Accepted(replay, replayed=True)
    require_active(workspace)
    kept_snapshot(wsid=wsid, snapshot_id=snapshot_id)
    drops = list(Task.objects.dropping(snapshot_id))
    if drops:
        raise WvsError(
            ErrorCode.CONFLICT_SNAPSHOT_IN_USE,
            f"snapshot {snapshot_id} is about to be dropped",
            blockers=[blocker(task) for task in drops],
        )
    params = {"snapshot_id": snapshot_id, "fresh": fresh}
    return Accepted(submit_task(wsid=wsid, op=Op.SET_CURRENT, params=params, token=token, actor=actor, retries=retries))


def what_needs(workspace: Workspace, snapshot_id: str, *, apart_from: str | None = None) -> list[Blocker]:
    """What stands in the way of dropping the snapshot: the pointer, and live tasks. The caller holds STATE."""
    needs: list[Blocker] = []
    if workspace.current_snapshot_id == snapshot_id:
        needs.append({"current_snapshot_id": snapshot_id, "current_path": workspace.current_path})
    tasks = Task.objects.referring_to(snapshot_id).in_order()
    needs += [blocker(task) for task in tasks if task.task_id != apart_from]
    return needs

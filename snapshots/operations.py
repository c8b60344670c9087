"""What the tasks of this app do (SPEC §6)."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from executor.contract import ExecuteTask, FaultReason, Outcome
from snapshots.models import Snapshot
from snapshots.services import create_snapshot, drop_snapshot, set_current, what_needs
from tasks.audit import Actor
from tasks.idempotency import IdempotencyToken
from tasks.models import Task
from tasks.operations import Json, NoOp, Refused, base_request
from workspaces.models import Workspace
from wvs_project.errors import ErrorCode, WvsError


def _workspace(task: Task) -> Workspace:
    return Workspace.objects.get(pk=task.workspace_id)


def _snapshot_id(task: Task) -> str:
    return str(task.params["snapshot_id"])


class CreateSnapshot:
    """A new snapshot of the current tree."""

    audit_action = "workspace.snapshot_create"
    irrevocable = False

    def prepare(self, task: Task) -> NoOp | None:
        """Nothing to check: strict order holds off whatever would change the pointer."""
        return None

    def request(self, task: Task) -> ExecuteTask:
        """The source is the live tree that the row names."""
        return base_request(
            task,
            snapshot_id=_snapshot_id(task),
            source_live_id=_workspace(task).current_live_id,
            message=str(task.params.get("message", "")),
        )

    def apply(self, task: Task, outcome: Outcome) -> Json:
        """The snapshot row. The pointer stays: to be current is decided by set_current alone."""
        snapshot_id = _snapshot_id(task)
        assert outcome.entries is not None
        assert outcome.bytes is not None
        assert outcome.manifest_digest is not None
        # There already if it was read back from the disk while this task's worker was lost.
        Snapshot.objects.get_or_create(
            snapshot_id=snapshot_id,
            workspace_id=task.workspace_id,
            manifest_digest=outcome.manifest_digest,
            defaults={
                "fs_path": _workspace(task).snapshot_path(snapshot_id),
                "message": str(task.params.get("message", "")),
                "entries": outcome.entries,
                "bytes": outcome.bytes,
                "created_by": task.task_id,
            },
        )
        return {"snapshot_id": snapshot_id, **outcome.as_json()}

    def again(self, task: Task, *, token: IdempotencyToken, actor: Actor) -> Task:
        """Of what is current now, under a snapshot_id of its own."""
        message = str(task.params.get("message", ""))
        wsid = task.workspace_id
        return create_snapshot(wsid=wsid, message=message, token=token, actor=actor, retries=task.task_id).task

    def give_up(self, task: Task) -> None:
        """Nothing was promised but the id."""


class DropSnapshot:
    """Mark first, delete after: a crash between them leaves a directory to sweep, never a snapshot without one."""

    audit_action = "workspace.snapshot_drop"
    irrevocable = True

    def prepare(self, task: Task) -> NoOp | None:
        """Set deleted_at, unless something needs the snapshot (P0-01, G7, G8)."""
        snapshot_id = _snapshot_id(task)
        workspace = _workspace(task)
        snapshot = Snapshot.objects.of_workspace(workspace.wsid).filter(pk=snapshot_id).first()
        if snapshot is None or snapshot.deleted_by not in (None, task.task_id):
            raise Refused(FaultReason.SNAPSHOT_MISSING, f"snapshot {snapshot_id} is not there to be dropped")
        needs = what_needs(workspace, snapshot_id, apart_from=task.task_id)
        if needs:
            raise Refused(FaultReason.SNAPSHOT_IN_USE, f"snapshot {snapshot_id} is in use: {needs}")
        try:
            with transaction.atomic():
                snapshot.mark_dropped(task.task_id)
        except IntegrityError as error:
            raise Refused(FaultReason.SNAPSHOT_IN_USE, f"snapshot {snapshot_id} is in use: {error}") from error
        return None

    def request(self, task: Task) -> ExecuteTask:
        """The directory to delete."""
        return base_request(task, snapshot_id=_snapshot_id(task))

    def apply(self, task: Task, outcome: Outcome) -> Json:
        """The row was marked when the task was claimed."""
        return {"snapshot_id": _snapshot_id(task), **outcome.as_json()}

    def again(self, task: Task, *, token: IdempotencyToken, actor: Actor) -> Task:
        """If the snapshot is marked already, what is left of it is the sweep's: raises PRECONDITION_FAILED."""
        wsid, snapshot_id = task.workspace_id, _snapshot_id(task)
        if Snapshot.objects.of_workspace(wsid).filter(pk=snapshot_id, deleted_at__isnull=False).exists():
            raise WvsError(
                ErrorCode.PRECONDITION_FAILED,
                f"snapshot {snapshot_id} is dropped already: the sweep deletes what is left of it",
                blockers=[{"snapshot_id": snapshot_id, "dropped": True}],
            )
        return drop_snapshot(wsid=wsid, snapshot_id=snapshot_id, token=token, actor=actor, retries=task.task_id).task

    def give_up(self, task: Task) -> None:
        """Before its claim nothing was marked; after it the engine never gives up."""


class SetCurrent:
    """Roll back or forward."""

    audit_action = "workspace.set_current"
    irrevocable = False

    def prepare(self, task: Task) -> NoOp | None:
        """The snapshot must be there; if it is current already, only `fresh` clones it again."""
        snapshot_id = _snapshot_id(task)
        workspace = _workspace(task)
        if not Snapshot.objects.of_workspace(workspace.wsid).kept().filter(pk=snapshot_id).exists():
            raise Refused(FaultReason.SNAPSHOT_MISSING, f"snapshot {snapshot_id} was dropped")
        if workspace.current_snapshot_id == snapshot_id and not task.params.get("fresh"):
            return NoOp({"noop": True, "snapshot_id": snapshot_id, "current_path": workspace.current_path})
        return None

    def request(self, task: Task) -> ExecuteTask:
        """The executor derives the new tree's name from the task."""
        return base_request(task, snapshot_id=_snapshot_id(task))

    def apply(self, task: Task, outcome: Outcome) -> Json:
        """Pointer and path together (P1-01)."""
        workspace = _workspace(task)
        assert outcome.live_id is not None
        before = workspace.current_path
        workspace.point_at(snapshot_id=_snapshot_id(task), path=workspace.live_path(outcome.live_id))
        return {
            "snapshot_id": _snapshot_id(task),
            "current_path": workspace.current_path,
            "previous_path": before,
            **outcome.as_json(),
        }

    def again(self, task: Task, *, token: IdempotencyToken, actor: Actor) -> Task:
        """The same snapshot, if it is still there."""
        return set_current(
            wsid=task.workspace_id,
            snapshot_id=_snapshot_id(task),
            fresh=bool(task.params.get("fresh")),
            token=token,
            actor=actor,
            retries=task.task_id,
        ).task

    def give_up(self, task: Task) -> None:
        """Nothing was switched: row and symlink still agree."""

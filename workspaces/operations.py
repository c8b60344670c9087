"""What the task of this app does (SPEC §6)."""

from __future__ import annotations

from executor.contract import ExecuteTask, Outcome
from tasks.audit import Actor
from tasks.idempotency import IdempotencyToken
from tasks.models import Task
from tasks.operations import Json, NoOp, base_request
from workspaces.models import Workspace
from workspaces.services import retry_init
from workspaces.states import WorkspaceState


class InitWorkspace:
    """PROVISIONING → ACTIVE with an empty first tree, or INIT_FAILED."""

    audit_action = "workspace.create"
    irrevocable = False

    def prepare(self, task: Task) -> NoOp | None:
        """Nothing to check: what is on disk decides."""
        return None

    def request(self, task: Task) -> ExecuteTask:
        """All the executor needs is the wsid."""
        return base_request(task)

    def apply(self, task: Task, outcome: Outcome) -> Json:
        """The workspace is usable now."""
        workspace = Workspace.objects.get(pk=task.workspace_id)
        assert outcome.live_id is not None
        workspace.activate(workspace.live_path(outcome.live_id))
        return {"current_path": workspace.current_path, **outcome.as_json()}

    def again(self, task: Task, *, token: IdempotencyToken, actor: Actor) -> Task:
        """As retry-init."""
        return retry_init(wsid=task.workspace_id, token=token, actor=actor, retries=task.task_id).task

    def give_up(self, task: Task) -> None:
        """INIT_FAILED in the transaction that ends the task: retry-init is the way out."""
        workspace = Workspace.objects.get(pk=task.workspace_id)
        if workspace.state == WorkspaceState.PROVISIONING:
            workspace.fail_init()

"""The real services, engine and scheduler on real PostgreSQL, asked for what the model is asked for."""

from __future__ import annotations

from collections.abc import Iterable

from snapshots.models import Snapshot
from snapshots.services import create_snapshot, drop_snapshot, set_current
from tasks.engine import Engine
from tasks.idempotency import IdempotencyToken
from tasks.locks import GuardPool
from tasks.models import Task
from tasks.scheduler import Scheduler
from tasks.services import Accepted
from tasks.supervisor import Supervisor
from tests.factories import ACTOR, new_token
from tests.fakes import FakeExecutor
from tests.model.happenings import Happening
from tests.model.rules import Request
from tests.model.script import Script
from workspaces.models import Workspace
from workspaces.services import create_workspace, retry_init
from wvs_project.db import ClockTimestamp, direct_conninfo
from wvs_project.errors import ErrorCode, WvsError

BACKOFF = 5.0


class Reality:
    """One worker at a time; when it had to go, another one comes."""

    def __init__(self) -> None:
        self.fake = FakeExecutor()
        self._guards = GuardPool(direct_conninfo(application_name="wvs-rescue"))
        self._worker = self._new_worker()

    def _new_worker(self) -> Engine:
        return Engine(
            executor=self.fake,
            guards=GuardPool(direct_conninfo(application_name="wvs-guard")),
            supervisor=Supervisor(direct_conninfo(application_name="wvs-supervisor")),
            backoff_base=BACKOFF,
        )

    def close(self) -> None:
        """Give back all connections."""
        self._worker.close()
        self._guards.close()

    def submit(self, wsid: str, request: Request, *, again: bool = False) -> Accepted | ErrorCode:
        """What the service answers. `again`: retry-init, not the creation of a workspace."""
        token = new_token(request.key, request.said)
        try:
            return _call(wsid, request, token, again=again)
        except WvsError as refusal:
            return refusal.code

    def serve(self, wsid: str, executes: Iterable[Happening], probes: Iterable[Happening]) -> None:
        """A worker answers a bell."""
        script = Script(self.fake, self._worker)
        script.play(executes, probes)
        self._worker.serve(wsid)
        if script.worker_is_gone:
            self._worker.close()
            self._worker = self._new_worker()

    def rescue(self) -> None:
        """One beat of a scheduler."""
        Scheduler(guards=self._guards, backoff_base=BACKOFF).beat()

    def time_passes(self, wsid: str) -> None:
        """Every retry of the workspace is due."""
        Task.objects.of_workspace(wsid).live().update(next_run_at=ClockTimestamp())

    def forget(self, wsids: Iterable[str]) -> None:
        """Delete those workspaces, save what is append-only."""
        wsids = list(wsids)
        Task.objects.filter(workspace_id__in=wsids).delete()
        Workspace.objects.filter(pk__in=wsids).update(current_snapshot_id=None)
        Snapshot.objects.filter(workspace_id__in=wsids).delete()
        Workspace.objects.filter(pk__in=wsids).delete()


def _call(wsid: str, request: Request, token: IdempotencyToken, *, again: bool) -> Accepted:
    match request.op:
        case "init_workspace" if again:
            return retry_init(wsid=wsid, token=token, actor=ACTOR)
        case "init_workspace":
            return create_workspace(wsid=wsid, owner="team-a", token=token, actor=ACTOR).accepted
        case "snapshot_create":
            return create_snapshot(wsid=wsid, message=request.message, token=token, actor=ACTOR)
    assert request.snapshot_id is not None
    if request.op == "snapshot_drop":
        return drop_snapshot(wsid=wsid, snapshot_id=request.snapshot_id, token=token, actor=ACTOR)
    return set_current(wsid=wsid, snapshot_id=request.snapshot_id, fresh=request.fresh, token=token, actor=ACTOR)

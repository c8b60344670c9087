"""The guards of the code, each as it must not be: what the tests put in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from snapshots import services as snapshot_services
from tasks import doorbell, settlement
from tasks.engine import Engine
from tasks.locks import GuardPool, hold_state
from tasks.models import Op, Task
from tasks.states import LIVE, Status
from tasks.upkeep import Rest
from tests.interleavings import inserts
from workspaces import services as workspace_services
from workspaces.models import Workspace
from wvs_project.errors import Blocker

Mutate = Callable[[pytest.MonkeyPatch], None]


def settle_without_the_fence_clause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apply to whatever run of the task there is now."""

    @transaction.atomic
    def settle_once(task: Task, decide: Callable[[Task], None]) -> bool:
        hold_state(task.workspace_id)
        row = Task.objects.select_for_update().filter(pk=task.pk, status=Status.RUNNING).first()
        if row is None:
            return False
        decide(row)
        return True

    monkeypatch.setattr(settlement, "_settle_once", settle_once)


def look_before_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that looks for more while it still holds RUN."""

    def serve(self: Engine, wsid: str) -> None:
        due = True
        while due:
            guard = self._guards.acquire(wsid)
            if guard is None:
                return
            try:
                self._run_head(wsid, guard, 0.0, (0, 0))
                due = Task.objects.has_due_head(wsid)
            finally:
                self._guards.release(guard)

    monkeypatch.setattr(Engine, "_serve", serve)


def rest_without_looking_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that looks for more while it still holds RUN."""

    @contextmanager
    def at_rest(wsid: str, guards: GuardPool) -> Iterator[Rest | None]:
        guard = guards.acquire(wsid)
        if guard is None:
            yield None
            return
        yield Rest(wsid, 0)
        due = Task.objects.has_due_head(wsid)
        guards.release(guard)
        if due:
            doorbell.ring(wsid)

    monkeypatch.setattr(inserts, "at_rest", at_rest)


def lock_and_check_in_one_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drop that asks who needs the snapshot by the statement that waits for the lock."""
    needed: dict[str, bool] = {}

    def lock_workspace(wsid: str) -> Workspace:
        switches = Task.objects.filter(workspace_id=OuterRef("pk"), op=Op.SET_CURRENT, status__in=LIVE)
        locked = Workspace.objects.select_for_update(no_key=True, of=("self",)).annotate(needed=Exists(switches))
        workspace = locked.get(pk=wsid)
        needed[wsid] = bool(workspace.__dict__["needed"])
        return workspace

    def what_needs(workspace: Workspace, snapshot_id: str, *, apart_from: str | None = None) -> list[Blocker]:
        return [{"wsid": workspace.wsid}] if needed[workspace.wsid] else []

    monkeypatch.setattr(snapshot_services, "lock_workspace", lock_workspace)
    monkeypatch.setattr(snapshot_services, "what_needs", what_needs)


def lock_under_repeatable_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that goes on to see what it saw when it began to wait."""

    def lock_workspace(wsid: str) -> Workspace:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return workspace_services.lock_workspace(wsid)

    monkeypatch.setattr(snapshot_services, "lock_workspace", lock_workspace)


def check_before_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that decide on what they saw before they held STATE."""
    at_first: dict[tuple[str, str], list[Blocker]] = {}
    what_needs = snapshot_services.what_needs

    def lock_workspace(wsid: str) -> Workspace:
        unlocked = Workspace.objects.get(pk=wsid)
        for snapshot_id in unlocked.snapshots.values_list("pk", flat=True):
            at_first[wsid, snapshot_id] = what_needs(unlocked, snapshot_id)
        return workspace_services.lock_workspace(wsid)

    def remembered(workspace: Workspace, snapshot_id: str, *, apart_from: str | None = None) -> list[Blocker]:
        return at_first[workspace.wsid, snapshot_id]

    monkeypatch.setattr(snapshot_services, "lock_workspace", lock_workspace)
    monkeypatch.setattr(snapshot_services, "what_needs", remembered)

"""Who meets an insert, on which rows, and what must be true afterwards (ENGINE "Invariants, ways to show them")."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from django.db import IntegrityError, transaction

from snapshots.models import Snapshot
from snapshots.services import create_snapshot, drop_snapshot, set_current
from tasks.models import Op, Task
from tasks.services import Accepted
from tasks.states import Status
from tasks.upkeep import at_rest
from tests.engine.world import fresh
from tests.factories import ACTOR, make_task, new_token
from tests.interleavings.stage import Scene
from tests.interleavings.world import Result, World, code_of, staged
from workspaces.models import Workspace
from workspaces.services import disable_workspace
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode
from wvs_project.ids import new_task_id

# — insert × drop —


def switch_and_drop(world: World) -> Scene:
    """POST current:set and DELETE of the same snapshot: one is accepted, the other is told why not (P0-01)."""
    workspace, snapshot = staged()
    wsid, snapshot_id = workspace.wsid, snapshot.snapshot_id

    def check(switched: Result, dropped: Result) -> str:
        accepted = [result for result in (switched, dropped) if isinstance(result, Accepted)]
        assert len(accepted) == 1, f"{len(accepted)} of them were accepted"
        assert {code_of(switched), code_of(dropped)} == {None, ErrorCode.CONFLICT_SNAPSHOT_IN_USE}
        assert Task.objects.referring_to(snapshot_id).count() == 1
        return str(accepted[0].task.op)

    return Scene(
        partial(set_current, wsid=wsid, snapshot_id=snapshot_id, fresh=False, token=new_token(), actor=ACTOR),
        partial(drop_snapshot, wsid=wsid, snapshot_id=snapshot_id, token=new_token(), actor=ACTOR),
        check,
    )


def _unless_refused(write: Callable[[], object]) -> bool:
    try:
        with transaction.atomic():
            write()
    except IntegrityError:
        return False
    return True


def insert_and_mark(world: World) -> Scene:
    """The same past every service and lock of ours: PostgreSQL alone decides (P0-01)."""
    workspace, snapshot = staged()

    def check(inserted: Result, marked: Result) -> str:
        assert (inserted, marked) in [(True, False), (False, True)], "a live set_current names a dropped snapshot"
        return "inserted" if inserted else "marked"

    return Scene(
        partial(_unless_refused, partial(make_task, workspace, Op.SET_CURRENT, snapshot=snapshot)),
        partial(_unless_refused, partial(snapshot.mark_dropped, new_task_id())),
        check,
    )


def insert_and_claim_of_drop(world: World) -> Scene:
    """A set_current that passed the services by, and the claim of a drop, which marks (P0-01)."""
    workspace, snapshot = staged()
    drop = make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)

    def check(inserted: Result, run: Result) -> str:
        kept = Snapshot.objects.kept().filter(pk=snapshot.pk).exists()
        assert inserted is kept, "a live set_current names a dropped snapshot"
        row = fresh(drop)
        assert row.state is (Status.DEAD if kept else Status.RUNNING)
        assert (run is None) is kept
        return row.status

    return Scene(
        partial(_unless_refused, partial(make_task, workspace, Op.SET_CURRENT, snapshot=snapshot)),
        partial(world.claim, world.worker, workspace.wsid),
        check,
    )


# — disable × insert —

Insert = Callable[[Workspace, Snapshot], Callable[[], Accepted]]

INSERTS: Final[dict[str, Insert]] = {
    "create": lambda workspace, _: partial(
        create_snapshot, wsid=workspace.wsid, message="", token=new_token(), actor=ACTOR
    ),
    "drop": lambda workspace, snapshot: partial(
        drop_snapshot, wsid=workspace.wsid, snapshot_id=snapshot.pk, token=new_token(), actor=ACTOR
    ),
    "switch": lambda workspace, snapshot: partial(
        set_current, wsid=workspace.wsid, snapshot_id=snapshot.pk, fresh=False, token=new_token(), actor=ACTOR
    ),
}


def disable_and_insert(world: World, *, insert: str) -> Scene:
    """No live task in a DISABLED workspace: one of the two is refused (G21)."""
    workspace, snapshot = staged()

    def check(disabled: Result, inserted: Result) -> str:
        row = Workspace.objects.get(pk=workspace.pk)
        live = Task.objects.of_workspace(workspace.wsid).live().count()
        if row.state == WorkspaceState.DISABLED:
            assert (live, code_of(inserted)) == (0, ErrorCode.GONE)
        else:
            assert (live, code_of(disabled)) == (1, ErrorCode.PRECONDITION_FAILED)
        return row.state

    return Scene(
        partial(disable_workspace, wsid=workspace.wsid, actor=ACTOR, request_id="req-1"),
        INSERTS[insert](workspace, snapshot),
        check,
    )


def disable_and_straight_insert(world: World) -> Scene:
    """The same past every service and lock of ours: PostgreSQL alone decides (G21)."""
    workspace, _ = staged()

    def check(disabled: Result, inserted: Result) -> str:
        assert (disabled, inserted) in [(True, False), (False, True)], "a live task in a DISABLED workspace"
        return "disabled" if disabled else "inserted"

    return Scene(
        partial(_unless_refused, workspace.disable), partial(_unless_refused, partial(make_task, workspace)), check
    )


# — release × insert —


def release_and_insert(world: World) -> Scene:
    """A bell that found RUN taken is not lost: whoever held RUN looks again after freeing it (SPEC §6)."""
    workspace, snapshot = staged()
    insert = INSERTS["create"](workspace, snapshot)

    def insert_and_answer_the_bell() -> Task:
        task = insert().task
        world.other_worker._serve(workspace.wsid)
        return task

    def check(_: Result, task: Result) -> str:
        assert isinstance(task, Task)
        row = fresh(task)
        assert row.state is Status.SUCCEEDED, "its bell was for nothing, and nobody has looked again"
        assert [request.task_id for request in world.fake.executed].count(task.task_id) == 1
        return row.status

    return Scene(partial(world.worker._serve, workspace.wsid), insert_and_answer_the_bell, check)


def rest_and_insert(world: World) -> Scene:
    """The same of a sweep, which runs nothing itself: it rings (SPEC §6)."""
    workspace, snapshot = staged()
    insert = INSERTS["create"](workspace, snapshot)

    def rest() -> None:
        with at_rest(workspace.wsid, world.guards):
            pass

    def insert_and_answer_the_bell() -> Task:
        task = insert().task
        world.other_worker._serve(workspace.wsid)
        return task

    def check(_: Result, task: Result) -> str:
        assert isinstance(task, Task)
        row = fresh(task)
        rung = world.bells.by("A", workspace.wsid)
        assert rung or row.state is Status.SUCCEEDED, "its bell was for nothing, and nobody has rung again"
        return f"{row.status}, rung again" if rung else row.status

    return Scene(rest, insert_and_answer_the_bell, check)

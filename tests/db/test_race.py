"""P0-01: a drop and a set_current of the same snapshot, raced over real connections: never both (SPEC §12).

WVS_RACE_PAIRS says how many pairs are raced.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
from django.db import IntegrityError, connection, transaction

from snapshots.models import Snapshot
from snapshots.services import drop_snapshot, set_current
from tasks.engine import Engine
from tasks.locks import GuardPool
from tasks.models import Op, Task
from tasks.states import Status
from tasks.supervisor import Supervisor
from tests.factories import ACTOR, make_snapshot, make_task, make_workspace, new_token
from tests.fakes import FakeExecutor
from tests.waiting import LIMIT, InThread
from workspaces.models import Workspace
from wvs_project.db import direct_conninfo
from wvs_project.errors import ErrorCode, WvsError
from wvs_project.ids import new_task_id

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.rule("P0-01"), pytest.mark.timeout(900)]

SECONDS_PER_PAIR = 0.5
"""What a pair may take at most, on the busiest machine."""

Contender = Callable[[Snapshot], bool]
"""Tries its part with the snapshot; whether it was accepted."""

_REFUSALS = (ErrorCode.CONFLICT_SNAPSHOT_IN_USE, ErrorCode.NOT_FOUND)


def _race(first: Contender, second: Contender, snapshots: list[Snapshot]) -> list[tuple[bool, bool]]:
    """Both with each snapshot, from two threads that start together each time."""
    barrier = threading.Barrier(2)

    def run(contender: Contender) -> list[bool]:
        won = []
        for snapshot in snapshots:
            barrier.wait(LIMIT)
            won.append(contender(snapshot))
        return won

    threads = [InThread(partial(run, contender)) for contender in (first, second)]
    one, other = (thread.result(LIMIT + SECONDS_PER_PAIR * len(snapshots)) for thread in threads)
    return list(zip(one, other, strict=True))


def _live_references_to_dropped_snapshots() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FROM snapshots s WHERE s.deleted_at IS NOT NULL AND (
                 EXISTS (SELECT FROM workspaces w WHERE w.current_snapshot_id = s.snapshot_id)
                 OR EXISTS (SELECT FROM tasks t WHERE t.params->>'snapshot_id' = s.snapshot_id
                            AND t.op = 'set_current' AND t.status IN ('PENDING', 'RUNNING', 'FAILED')))"""
        )
        return int(cursor.fetchone()[0])


def _accepted(call: Callable[[], object]) -> bool:
    try:
        call()
    except WvsError as error:
        if error.code in _REFUSALS:
            return False
        raise
    return True


def _drop(snapshot: Snapshot) -> bool:
    wsid, snapshot_id = snapshot.workspace_id, snapshot.snapshot_id
    return _accepted(lambda: drop_snapshot(wsid=wsid, snapshot_id=snapshot_id, token=new_token(), actor=ACTOR))


def _switch(snapshot: Snapshot) -> bool:
    wsid, snapshot_id = snapshot.workspace_id, snapshot.snapshot_id
    return _accepted(
        lambda: set_current(wsid=wsid, snapshot_id=snapshot_id, fresh=False, token=new_token(), actor=ACTOR)
    )


def _insert_switch(snapshot: Snapshot) -> bool:
    """Past every service and every lock of ours."""
    try:
        make_task(snapshot.workspace, Op.SET_CURRENT, snapshot=snapshot)
    except IntegrityError:
        return False
    return True


def _mark(snapshot: Snapshot) -> bool:
    """What a drop's prepare writes, past every service and every lock of ours."""
    try:
        snapshot.mark_dropped(new_task_id())
    except IntegrityError:
        return False
    return True


def _engine() -> Engine:
    return Engine(
        executor=FakeExecutor(),
        guards=GuardPool(direct_conninfo(application_name="wvs-guard")),
        supervisor=Supervisor(direct_conninfo(application_name="wvs-supervisor")),
        backoff_base=5.0,
    )


@pytest.fixture
def workspace(transactional_db: None) -> Workspace:
    return make_workspace()


def test_through_the_services_exactly_one_is_accepted(workspace: Workspace, race_pairs: int) -> None:
    pairs = _race(_drop, _switch, [make_snapshot(workspace) for _ in range(race_pairs)])
    assert all(drop != switch for drop, switch in pairs)
    assert _live_references_to_dropped_snapshots() == 0


def test_past_the_services_the_foreign_key_alone_lets_only_one_win(workspace: Workspace, race_pairs: int) -> None:
    pairs = _race(_mark, _insert_switch, [make_snapshot(workspace) for _ in range(race_pairs)])
    assert all(drop != switch for drop, switch in pairs)
    assert _live_references_to_dropped_snapshots() == 0


def test_while_an_engine_serves_exactly_one_is_accepted_and_done(workspace: Workspace, race_pairs: int) -> None:
    engine = _engine()

    def drop_and_serve(snapshot: Snapshot) -> bool:
        accepted = _drop(snapshot)
        engine.serve(workspace.wsid)
        return accepted

    pairs = _race(drop_and_serve, _switch, [make_snapshot(workspace) for _ in range(race_pairs)])
    while Task.objects.live().exists():
        engine.serve(workspace.wsid)
    engine.close()
    assert all(drop != switch for drop, switch in pairs)
    assert set(Task.objects.values_list("status", flat=True)) == {Status.SUCCEEDED}
    assert _live_references_to_dropped_snapshots() == 0


def test_a_claim_of_a_drop_and_a_straight_insert_of_a_set_current_never_both_win(race_pairs: int) -> None:
    snapshots = [make_snapshot(make_workspace()) for _ in range(race_pairs)]
    drops = {s.snapshot_id: make_task(s.workspace, Op.SNAPSHOT_DROP, snapshot=s) for s in snapshots}
    engine = _engine()

    def claim(snapshot: Snapshot) -> bool:
        engine.serve(snapshot.workspace_id)
        return Snapshot.objects.filter(pk=snapshot.pk, deleted_at__isnull=False).exists()

    pairs = _race(claim, _insert_switch, snapshots)
    engine.close()
    for snapshot, (dropped, switched) in zip(snapshots, pairs, strict=True):
        drop = Task.objects.get(pk=drops[snapshot.snapshot_id].pk)
        assert dropped != switched
        assert drop.status == (Status.SUCCEEDED if dropped else Status.DEAD)
        if not dropped:
            assert drop.error is not None
            assert drop.error["reason"] == "SNAPSHOT_IN_USE"
    assert _live_references_to_dropped_snapshots() == 0


def test_a_drop_waits_for_a_set_current_that_is_being_inserted_and_is_refused(workspace: Workspace) -> None:
    snapshot = make_snapshot(workspace)
    with transaction.atomic():
        assert _insert_switch(snapshot)
        marking = InThread(lambda: _mark(snapshot))
        assert marking.wait_blocked() == [connection.connection.info.backend_pid]
    assert marking.result() is False


def test_a_set_current_waits_for_a_drop_that_is_being_marked_and_is_refused(workspace: Workspace) -> None:
    snapshot = make_snapshot(workspace)
    with transaction.atomic():
        assert _mark(snapshot)
        inserting = InThread(lambda: _insert_switch(snapshot))
        assert inserting.wait_blocked() == [connection.connection.info.backend_pid]
    assert inserting.result() is False


def test_a_workspace_is_not_disabled_while_a_task_is_being_inserted(workspace: Workspace) -> None:
    def disable() -> bool:
        try:
            workspace.disable()
        except IntegrityError:
            return False
        return True

    with transaction.atomic():
        make_task(workspace)
        disabling = InThread(disable)
        assert disabling.wait_blocked() == [connection.connection.info.backend_pid]
    assert disabling.result() is False

"""`manage.py check_invariants`: each invariant broken on purpose, and found (ENGINE I1–I12, SPEC §9).

The rules that PostgreSQL holds are taken away first, in a transaction that is rolled back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from executor.config import read_config
from executor.contract import ExecutorFault, FaultReason, live_id_for
from executor.local import LocalExecutor
from executor.upkeep import Inventory
from snapshots.invariants import check, examine
from snapshots.models import Snapshot
from tasks.audit import record
from tasks.models import Op, Task
from tasks.states import Status
from tasks.worker import build_engine
from tests.chaos import history as recorder
from tests.db.refusal import sql
from tests.e2e.world import World
from tests.factories import ACTOR, from_now, make_current, make_snapshot, make_task, make_workspace, next_fence
from tests.fakes_upkeep import FakeUpkeep, empty, facts
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.config import get_config
from wvs_project.db import direct_conninfo
from wvs_project.ids import new_snapshot_id, new_task_id
from wvs_project.stack.postgres import PostgresServer

pytestmark = pytest.mark.rule("SPEC §9")
rows = pytest.mark.django_db
disk = pytest.mark.django_db(transaction=True)


def said(invariant: str, *, settled: bool = False, upkeep: FakeUpkeep | None = None) -> list[str]:
    """What is broken of that invariant; what the catalog lacks is left out."""
    violations = check(upkeep, settled=settled, history=True)
    return [
        v.detail for v in violations if v.invariant == invariant and not v.detail.startswith(("constraint", "trig"))
    ]


def only(invariant: str, **options: Any) -> str:
    (detail,) = said(invariant, **options)
    return detail


def without(*constraints: str, table: str = "tasks") -> None:
    """PostgreSQL no longer refuses this."""
    for name in constraints:
        sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")


# — the rows —


@rows
def test_rows_that_break_nothing_are_no_violation() -> None:
    workspace = make_workspace()
    made = make_task(workspace, status=Status.SUCCEEDED)
    make_snapshot(workspace, snapshot_id=made.snapshot_id, created_by=made.task_id)
    make_task(workspace, status=Status.CANCELED)
    make_task(workspace, status=Status.RUNNING)
    make_task(workspace, Op.SET_CURRENT, snapshot=made.snapshot_id)
    assert check(None, settled=False, history=True) == []


@rows
def test_i1_two_tasks_running_in_a_workspace() -> None:
    sql("DROP INDEX tasks_one_running_per_workspace")
    workspace = make_workspace()
    first, second = (make_task(workspace, status=Status.RUNNING) for _ in range(2))
    assert only("I1") == f"2 RUNNING: {first.task_id}, {second.task_id}"


@rows
def test_i3_a_task_that_was_started_before_an_earlier_one() -> None:
    workspace = make_workspace()
    make_task(workspace, status=Status.DEAD)
    late = make_task(workspace, status=Status.DEAD, started_at=from_now(-60))
    assert only("I3").startswith(late.task_id)


@rows
def test_i3_a_task_that_was_overtaken() -> None:
    workspace = make_workspace()
    waiting = make_task(workspace)
    make_task(workspace, status=Status.DEAD)
    assert only("I3") == f"{waiting.task_id} (seq {waiting.seq}) is PENDING and a later one has been started"


@rows
def test_i4_more_attempts_than_a_task_may_have() -> None:
    without("tasks_attempt_within_max")
    task = make_task(make_workspace(), status=Status.DEAD, attempt=6)
    assert only("I4") == f"{task.task_id}: attempt 6 of 5"


@rows
def test_i4_a_fence_that_does_not_rise() -> None:
    workspace, fence = make_workspace(), next_fence()
    make_task(workspace, status=Status.DEAD, fence=fence)
    second = make_task(workspace, status=Status.DEAD, fence=fence)
    assert only("I4") == f"{second.task_id} has fence {fence}, an earlier task {fence}"


@rows
def test_i4_a_fence_that_the_sequence_never_gave() -> None:
    task = make_task(make_workspace(), status=Status.DEAD, fence=next_fence() + 1000)
    assert only("I4").startswith(f"{task.task_id} has fence {task.fence}, the sequence stands at")


@rows
def test_i5_a_snapshot_that_was_made_and_has_no_row() -> None:
    task = make_task(make_workspace(), status=Status.SUCCEEDED)
    assert only("I5") == f"{task.task_id} SUCCEEDED and {task.snapshot_id} has no row"


@rows
@pytest.mark.rule("G8")
def test_i6_a_current_snapshot_that_was_dropped() -> None:
    without("workspaces_current_snapshot_is_live", table="workspaces")
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    snapshot.mark_dropped(new_task_id())
    assert only("I6") == f"current is {snapshot.snapshot_id}, which is not kept here"


@rows
@pytest.mark.rule("P0-01")
@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING, Status.FAILED])
def test_i6_a_dropped_snapshot_that_a_live_switch_needs(status: Status) -> None:
    without("tasks_ref_snapshot_is_live")
    workspace = make_workspace()
    snapshot = make_snapshot(workspace, dropped=True)
    task = make_task(workspace, Op.SET_CURRENT, snapshot=snapshot, status=status)
    assert only("I6").startswith(f"{task.task_id} is {status} and needs {snapshot.snapshot_id}")


@rows
@pytest.mark.rule("G6")
def test_i6_a_switch_to_another_workspaces_snapshot() -> None:
    without("tasks_ref_snapshot_is_live")
    task = make_task(make_workspace(), Op.SET_CURRENT, snapshot=make_snapshot(make_workspace()))
    assert only("I6").startswith(task.task_id)


@rows
@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING, Status.FAILED])
def test_i7_a_task_that_is_left_when_all_has_settled(status: Status) -> None:
    task = make_task(make_workspace(), status=status)
    assert only("I7", settled=True).startswith(f"{task.task_id} is still {status}")
    assert said("I7") == []


@rows
@pytest.mark.rule("G19")
def test_i7_a_workspace_that_waits_for_nothing() -> None:
    workspace = make_workspace(state=WorkspaceState.PROVISIONING)
    make_task(workspace, Op.INIT_WORKSPACE, status=Status.DEAD)
    assert only("I7") == "PROVISIONING, and no task is about to end that"
    make_task(workspace, Op.INIT_WORKSPACE)
    assert said("I7") == []


@rows
@pytest.mark.parametrize("status", [Status.CANCELED, Status.FAILED, Status.DEAD])
def test_i8_a_snapshot_row_of_a_task_that_did_not_succeed(status: Status) -> None:
    workspace = make_workspace()
    task = make_task(workspace, status=status)
    make_snapshot(workspace, snapshot_id=task.snapshot_id, created_by=task.task_id)
    assert only("I8") == f"{task.snapshot_id} has a row, and {task.task_id}, which made it, is {status}"
    record(action="index.fix", wsid=workspace.wsid, actor=ACTOR, after={str(task.snapshot_id): {}})
    assert said("I8") == []


def _point(workspace: Workspace, task: Task) -> None:
    """As the task's apply does."""
    workspace.point_at(snapshot_id=task.snapshot_id, path=workspace.live_path(live_id_for(task.task_id)))


@rows
@pytest.mark.parametrize("status", [Status.CANCELED, Status.FAILED, Status.DEAD])
def test_i8_a_pointer_to_the_tree_of_a_task_that_did_not_succeed(status: Status) -> None:
    workspace = make_workspace()
    task = make_task(workspace, Op.SET_CURRENT, snapshot=make_snapshot(workspace), status=status)
    _point(workspace, task)
    assert only("I8") == f"current_path is the tree of {task.task_id}, which is {status}"
    record(action="index.fix", wsid=workspace.wsid, actor=ACTOR, after={"current": {}})
    assert said("I8") == []


@rows
def test_i8_a_pointer_that_an_earlier_switch_has_taken_back() -> None:
    workspace = make_workspace()
    first, second = (
        make_task(workspace, Op.SET_CURRENT, snapshot=make_snapshot(workspace), status=Status.SUCCEEDED)
        for _ in range(2)
    )
    make_task(workspace, Op.SET_CURRENT, snapshot=first.snapshot_id, status=Status.SUCCEEDED, result={"noop": True})
    _point(workspace, second)
    assert said("I8") == []
    _point(workspace, first)
    assert only("I8").endswith(f"the last switch was {second.task_id} to {second.snapshot_id}")


@rows
def test_i11_two_tasks_for_one_key() -> None:
    without("tasks_idempotency")
    workspace = make_workspace()
    for _ in range(2):
        make_task(workspace, idempotency_key="the same", status=Status.CANCELED)
    assert only("I11").startswith("2 tasks for key the same: task-")


@disk
@pytest.mark.parametrize("statement", ["SELECT pg_current_xact_id()", "DECLARE held CURSOR FOR SELECT 1"])
def test_i10_a_guard_that_holds_back_vacuum(transactional_db: None, statement: str) -> None:
    with psycopg.connect(direct_conninfo(application_name="wvs-guard")) as guard:
        guard.execute("SELECT 1")
        assert said("I10") == []
        guard.execute(statement.encode())
        assert only("I10").startswith(f"wvs-guard ({guard.info.backend_pid}) holds back VACUUM")


@disk
def test_i10_also_under_another_name_whoever_holds_run(transactional_db: None) -> None:
    with psycopg.connect(direct_conninfo(application_name="wvs-rescue")) as guard:
        guard.execute("SELECT pg_current_xact_id()")
        assert said("I10") == []
        guard.execute("SELECT pg_try_advisory_xact_lock(hashtextextended('ws-1', 1))")
        assert only("I10").startswith("wvs-rescue")


# — the catalog —


@rows
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DROP INDEX tasks_one_running_per_workspace", ("I1", "constraint tasks_one_running_per_workspace")),
        ("ALTER TABLE tasks DROP CONSTRAINT tasks_idempotency", ("I11", "constraint tasks_idempotency")),
        ("ALTER TABLE tasks DROP CONSTRAINT tasks_attempt_within_max", ("I4", "constraint tasks_attempt_within_max")),
        (
            "ALTER TABLE tasks DROP CONSTRAINT tasks_ref_snapshot_is_live",
            ("I6", "constraint tasks_ref_snapshot_is_live"),
        ),
        (
            "ALTER TABLE workspaces DROP CONSTRAINT workspaces_id_pattern",
            ("schema", "constraint workspaces_id_pattern"),
        ),
        ("ALTER TABLE tasks DISABLE TRIGGER {tasks_transitions}", ("I2", "trigger tasks_transitions: disabled")),
        ("DROP TRIGGER {tasks_transitions} ON tasks", ("I2", "trigger tasks_transitions: uninstalled")),
        ("COMMENT ON TRIGGER {tasks_transitions} ON tasks IS 'x'", ("I2", "trigger tasks_transitions: outdated")),
        ("ALTER TABLE audit DISABLE TRIGGER USER", ("schema", "trigger audit_append_only: disabled")),
    ],
)
def test_a_rule_that_postgresql_no_longer_holds_is_named(statement: str, expected: tuple[str, str]) -> None:
    (pgid,) = (trigger.get_pgid(Task) for trigger in Task._meta.triggers)  # type: ignore[attr-defined]
    sql(statement.format(tasks_transitions=pgid))
    ((invariant, detail),) = ((v.invariant, v.detail) for v in check(None, settled=True, history=True))
    assert invariant == expected[0]
    assert detail.startswith(expected[1])


@rows
def test_a_check_that_is_not_validated_is_none() -> None:
    without("tasks_timeout_positive")
    sql("ALTER TABLE tasks ADD CONSTRAINT tasks_timeout_positive CHECK (timeout_seconds > 0) NOT VALID")
    (violation,) = check(None, settled=True, history=True)
    assert violation.detail.startswith("constraint tasks_timeout_positive")


@disk
def test_a_foreign_key_whose_own_triggers_are_disabled_is_none(
    transactional_db: None, postgres_server: PostgresServer
) -> None:
    name = str(connection.settings_dict["NAME"])
    with psycopg.connect(postgres_server.superuser_dsn, dbname=name, autocommit=True) as superuser:
        superuser.execute("ALTER TABLE wvs.snapshots DISABLE TRIGGER ALL")
        try:
            lacking = [v.detail for v in check(None, settled=True, history=True)]
        finally:
            superuser.execute("ALTER TABLE wvs.snapshots ENABLE TRIGGER ALL")
    # The tables that refer to it: it is the referred one's triggers that would refuse its row to go.
    assert any("tasks_ref_snapshot_is_live" in detail for detail in lacking)
    assert any("workspaces_current_snapshot_is_live" in detail for detail in lacking)
    assert check(None, settled=True, history=True) == []


# — the history —


@pytest.fixture
def recorded(db: None) -> Iterator[Callable[..., None]]:
    """Writes lines of a history, one for each change of a task; the trigger writes none."""
    recorder.install(connection)
    sql("ALTER TABLE tasks DISABLE TRIGGER task_history_write")

    def line(old: str | None, new: str, **fields: Any) -> None:
        fence = fields.get("fence", 5)
        values = {
            "task_id": "task-1",
            "wsid": "ws-1",
            "seq": 1,
            "op": "snapshot_create",
            "old_status": old,
            "new_status": new,
            "attempt": 1,
            "old_fence": None if new == "RUNNING" and old != "RUNNING" else fence,
            "fence": fence,
            "outcome_unknown": False,
            "pid": 100,
            "backend_start": "2026-05-04 12:00:00+00",
        } | fields
        marks = ", ".join(["%s"] * len(values))
        sql(f"INSERT INTO task_history ({', '.join(values)}) VALUES ({marks})", *values.values())

    yield line
    recorder.remove(connection)


Line = Callable[..., None]


@rows
def test_a_history_in_which_all_went_well(recorded: Line) -> None:
    recorded(None, "PENDING", fence=None, attempt=0)
    recorded("PENDING", "RUNNING")
    recorded("RUNNING", "RUNNING")
    recorded("RUNNING", "FAILED", action="task.rescue", process="b", pid=200)
    recorded("FAILED", "RUNNING", fence=6, attempt=1, pid=300)
    recorded("RUNNING", "RUNNING", fence=6, attempt=2, pid=300)
    recorded("RUNNING", "SUCCEEDED", fence=6, attempt=2, pid=300, process="c")
    recorded(None, "PENDING", task_id="task-2", seq=2, fence=None, attempt=0)
    recorded("PENDING", "RUNNING", task_id="task-2", seq=2, fence=7)
    assert check(None, settled=False, history=True) == []


@rows
@pytest.mark.parametrize(
    ("old", "new"), [(None, "RUNNING"), ("PENDING", "SUCCEEDED"), ("FAILED", "DEAD"), ("FAILED", "PENDING")]
)
def test_i2_a_move_that_the_table_does_not_have(recorded: Line, old: str | None, new: str) -> None:
    recorded(old, new)
    assert only("I2") == f"task-1 went from {old or 'nothing'} to {new}"


@rows
def test_i2_a_move_that_nobody_recorded(recorded: Line) -> None:
    recorded("PENDING", "RUNNING")
    recorded("FAILED", "RUNNING", fence=6)
    assert only("I2") == "task-1 was RUNNING, and then moved from FAILED to RUNNING"


@rows
def test_i3_a_task_begun_while_an_earlier_one_waited_for_its_retry(recorded: Line) -> None:
    recorded("PENDING", "RUNNING")
    recorded("RUNNING", "FAILED")
    assert said("I3") == []
    recorded("PENDING", "RUNNING", task_id="task-2", seq=2, fence=6)
    recorded("RUNNING", "FAILED", task_id="task-2", seq=2, fence=6)
    recorded("FAILED", "CANCELED", fence=5)
    assert only("I3") == "task-2 (seq 2) was started before task-1 (seq 1) had ended"


@rows
@pytest.mark.parametrize("fence", [4, 5, None])
def test_i4_a_claim_without_a_higher_fence(recorded: Line, fence: int | None) -> None:
    recorded("PENDING", "RUNNING")
    recorded("RUNNING", "FAILED")
    recorded("FAILED", "RUNNING", fence=fence)
    assert only("I4") == f"task-1 was claimed with fence {fence or ''} after 5"


@rows
def test_i4_an_attempt_that_jumps(recorded: Line) -> None:
    recorded("PENDING", "RUNNING")
    recorded("RUNNING", "FAILED", attempt=3)
    assert only("I4") == "task-1 went from attempt 1 to 3"


@rows
@pytest.mark.rule("G9")
@pytest.mark.parametrize("status", ["SUCCEEDED", "CANCELED", "DEAD"])
def test_i8_a_write_to_a_finished_task(recorded: Line, status: str) -> None:
    recorded("PENDING", "RUNNING")
    recorded("RUNNING", status)
    recorded(status, status, pid=101)
    assert only("I8") == f"task-1 was {status}, and was written to by server process 101"


@rows
@pytest.mark.rule("G9")
def test_i8_a_run_that_ended_twice(recorded: Line) -> None:
    recorded("PENDING", "RUNNING")
    recorded("RUNNING", "FAILED")
    recorded("RUNNING", "SUCCEEDED")
    assert only("I8") == "task-1: the run with fence 5 ended 2 times"


@rows
def test_i8_a_fence_that_changed_without_a_claim(recorded: Line) -> None:
    recorded("PENDING", "RUNNING")
    recorded("RUNNING", "RUNNING", old_fence=5, fence=6)
    assert only("I8") == "task-1: fence 5 became 6 without a claim"


@rows
@pytest.mark.rule("G9")
def test_i8_a_run_ended_by_another_process_that_signed(recorded: Line) -> None:
    recorded("PENDING", "RUNNING", task_id="task-0", seq=0, fence=4, pid=200)
    recorded("RUNNING", "SUCCEEDED", task_id="task-0", seq=0, fence=4, pid=200, process="b")
    recorded("PENDING", "RUNNING", pid=200)
    recorded("RUNNING", "SUCCEEDED", pid=300, process="c")
    assert only("I8") == "task-1: the run with fence 5 was begun by b and ended as SUCCEEDED by c"


@rows
@pytest.mark.rule("G9")
def test_i8_a_run_ended_by_the_connection_of_an_earlier_run(recorded: Line) -> None:
    recorded("PENDING", "RUNNING", pid=100)
    recorded("RUNNING", "FAILED", pid=200, process="b", action="task.rescue")
    recorded("FAILED", "RUNNING", fence=6, pid=300)
    recorded("RUNNING", "FAILED", fence=6, pid=100)
    assert only("I8").endswith("begun by server process 300 and ended as FAILED by server process 100")


@rows
def test_i8_a_worker_that_had_to_connect_anew_is_no_zombie(recorded: Line) -> None:
    recorded("PENDING", "RUNNING", task_id="task-0", seq=0, fence=4, pid=200)
    recorded("RUNNING", "SUCCEEDED", task_id="task-0", seq=0, fence=4, pid=200, process="b")
    recorded("PENDING", "RUNNING", pid=200)
    recorded("RUNNING", "SUCCEEDED", pid=300, process="b")
    assert said("I8") == []


@rows
@pytest.mark.rule("G5")
def test_i9_two_runs_that_overlap(recorded: Line) -> None:
    recorded("PENDING", "RUNNING")
    recorded("PENDING", "RUNNING", task_id="task-2", seq=2, fence=6)
    assert only("I9") == "task-2 was begun while 1 others were RUNNING"
    recorded("PENDING", "RUNNING", task_id="task-3", wsid="ws-2", seq=3, fence=7)
    assert len(said("I9")) == 1


@rows
def test_the_recorder_writes_what_the_checks_read() -> None:
    recorder.install(connection)
    task = make_task(make_workspace())
    Task.objects.filter(pk=task.pk).update(status=Status.RUNNING, attempt=1, fence=next_fence(), started_at=from_now(0))
    record(action="x", wsid=task.workspace_id, actor=replace(ACTOR, type="worker"), task_id=task.task_id)
    with connection.cursor() as cursor:
        cursor.execute("SELECT old_status, new_status, attempt, process, action FROM task_history ORDER BY id")
        assert cursor.fetchall() == [
            (None, "PENDING", 0, ACTOR.id, "x"),
            ("PENDING", "RUNNING", 1, ACTOR.id, "x"),
        ]


# — the disk —


@pytest.fixture
def volume(transactional_db: None) -> FakeUpkeep:
    return FakeUpkeep()


@disk
def test_disk_and_rows_that_agree_are_no_violation(volume: FakeUpkeep) -> None:
    volume.has_snapshot(make_snapshot(volume.has(make_workspace())))
    volume.has_snapshot(make_snapshot(volume.has(make_workspace()), dropped=True))
    make_workspace(state=WorkspaceState.PROVISIONING).fail_init()
    assert check(volume, settled=True, history=True) == []


@disk
def test_i4_a_disk_that_has_seen_fences_of_the_future(volume: FakeUpkeep) -> None:
    workspace = volume.has(make_workspace())
    volume.changes(workspace.wsid, fence=next_fence() + 1000)
    assert only("I4", upkeep=volume).startswith(".wvs/fence says")


@disk
@pytest.mark.parametrize("orphaned", [False, True])
def test_i5_a_snapshot_that_is_not_on_disk(volume: FakeUpkeep, orphaned: bool) -> None:
    snapshot = make_snapshot(volume.has(make_workspace()), orphaned_at=from_now(0) if orphaned else None)
    assert snapshot.snapshot_id in only("I5", upkeep=volume)


@disk
@pytest.mark.parametrize("status", [Status.CANCELED, Status.DEAD])
def test_i5_a_tree_of_a_task_that_was_not_to_publish(volume: FakeUpkeep, status: Status) -> None:
    workspace = volume.has(make_workspace())
    task = make_task(workspace, status=status)
    volume.puts(workspace.wsid, str(task.snapshot_id), facts(task.task_id))
    assert f"which is {status}" in only("I5", upkeep=volume)


@disk
@pytest.mark.rule("P1-03")
def test_i5_two_trees_of_one_task(volume: FakeUpkeep) -> None:
    workspace = volume.has(make_workspace())
    for _ in range(2):
        volume.has_snapshot(make_snapshot(workspace, created_by="task-1"))
    assert only("I5", upkeep=volume).startswith("task-1 has published 2 snapshots: snap-")


@disk
def test_i5_half_a_tree_in_the_place_of_publication(volume: FakeUpkeep) -> None:
    workspace = volume.has(make_workspace())
    volume.puts(workspace.wsid, new_snapshot_id(), None)
    assert only("I5", upkeep=volume).startswith("invalid_snapshot")


@disk
def test_i5_a_workspace_that_nobody_asked_for(volume: FakeUpkeep) -> None:
    volume.disk["ws-unknown"] = empty("ws-unknown")
    assert only("I5", upkeep=volume).startswith("unknown_workspace")


@disk
@pytest.mark.rule("P1-01")
@pytest.mark.parametrize(
    "found",
    [
        replace(empty("ws-1"), current="live/initial", live=()),
        replace(empty("ws-1"), current=None),
        replace(empty("ws-1"), current="live/live-00000000-0000-7000-8000-000000000001"),
        None,
    ],
)
def test_i12_a_symlink_that_is_not_what_the_row_says(volume: FakeUpkeep, found: Inventory | None) -> None:
    make_workspace("ws-1")
    if found is not None:
        volume.disk["ws-1"] = found
    assert len(said("I12", upkeep=volume)) == 1


@disk
def test_a_workspace_in_which_a_task_runs_is_said_to_be_unseen(volume: FakeUpkeep) -> None:
    workspace = volume.has(make_workspace())
    make_snapshot(workspace)
    make_task(workspace, status=Status.RUNNING)
    seen = examine(volume, settled=False, with_history=False)
    assert seen.violations == ()
    assert f"I5, I12 of {workspace.wsid}: a task ran whenever it was looked at" in seen.unseen


# — the command —


def command(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command("check_invariants", "--json", *arguments, stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


@rows
def test_exit_code_0_and_what_was_not_seen() -> None:
    answer = command("--no-disk")
    assert answer["violations"] == []
    assert "rows.i1_one_running" in answer["checked"]
    assert "rows.i7_all_are_finished" not in answer["checked"]
    assert [what.partition(":")[0] for what in answer["unseen"]] == [
        "I7",
        "I2, I9, and I3, I4, I8 over time",
        "I5, I12",
    ]


@rows
def test_with_a_history_and_settled_all_of_the_tables_is_seen() -> None:
    recorder.install(connection)
    answer = command("--no-disk", "--settled")
    assert [what.partition(":")[0] for what in answer["unseen"]] == ["I5, I12"]
    assert "history.i8_runs_end_where_they_began" in answer["checked"]


@rows
def test_exit_code_1_and_the_violation_for_people() -> None:
    task = make_task(make_workspace())
    out = StringIO()
    with pytest.raises(CommandError, match="1 violations") as broken:
        call_command("check_invariants", "--settled", "--no-disk", stdout=out, no_color=True)
    assert broken.value.returncode == 1
    assert f"I7      {task.workspace_id}  {task.task_id} is still PENDING" in out.getvalue()
    assert "not seen: I5, I12: the disk was not looked at" in out.getvalue()


@disk
def test_exit_code_2_when_the_volume_does_not_answer(volume: FakeUpkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.management.operator.connect_upkeep", lambda addrs: volume)
    volume.faults[volume.has(make_workspace()).wsid] = ExecutorFault(FaultReason.UNAVAILABLE, "the mount is gone")
    with pytest.raises(CommandError, match="the mount is gone") as refused:
        call_command("check_invariants")
    assert refused.value.returncode == 2


# — a real disk —


@pytest.fixture
def world(transactional_db: None, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Its history is recorded."""
    monkeypatch.setenv("EXECUTOR_MOUNT_PATH", str(workdir))
    recorder.install(connection)
    engine = build_engine(get_config(), LocalExecutor(read_config()))
    yield World(workdir, engine)
    engine.close()
    recorder.remove(connection)


@disk
def test_after_crashes_everywhere_and_their_healing_nothing_is_broken(world: World) -> None:
    task = world.submit(Op.SET_CURRENT)
    world.crash_at("engine.executed")
    assert command()["violations"] == [], "in the middle of it"
    world.done(task)
    assert command("--settled") == command("--settled") | {"violations": [], "unseen": []}


@disk
def test_a_switch_behind_the_engines_back_is_found_on_a_real_disk(world: World) -> None:
    world.done(world.submit(Op.SET_CURRENT))
    (world.root / "current").unlink()
    (world.root / "current").symlink_to("live/initial")
    Snapshot.objects.update(created_by=new_task_id())
    with pytest.raises(CommandError, match="2 violations"):
        command("--settled")

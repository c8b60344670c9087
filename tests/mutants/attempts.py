"""For each guard in PostgreSQL: somebody who tries what it forbids, and what must be true all the same."""

from __future__ import annotations

from executor.contract import SNAPSHOT_ID_PATTERN, TASK_ID_PATTERN, WSID_PATTERN, matches
from snapshots.invariants import rows
from snapshots.models import Snapshot
from tasks.models import AuditEvent, Op, Task
from tasks.states import FINISHED, Status
from tests.engine.world import fresh, workspace_with_snapshot
from tests.factories import make_current, make_snapshot, make_task, make_workspace
from tests.mutants.attempting import ATTEMPTS, attempt, copy, execute, guarded_by, holds, never, update
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.db import ClockTimestamp
from wvs_project.ids import new_task_id

__all__ = ["ATTEMPTS"]


# — foreign keys —


@guarded_by("tasks_ref_snapshot_is_live")
def a_snapshot_that_a_live_switch_names_is_dropped() -> None:
    workspace, snapshot = workspace_with_snapshot()
    make_task(workspace, Op.SET_CURRENT, snapshot=snapshot)
    attempt(lambda: snapshot.mark_dropped(new_task_id()))
    holds(rows.i6_references)


@guarded_by("workspaces_current_snapshot_is_live")
def the_current_snapshot_is_dropped() -> None:
    workspace, snapshot = workspace_with_snapshot()
    make_current(workspace, snapshot)
    attempt(lambda: snapshot.mark_dropped(new_task_id()))
    holds(rows.i6_references)


@guarded_by("tasks_live_in_enabled_workspace")
def a_workspace_with_a_live_task_is_disabled() -> None:
    task = make_task(make_workspace())
    attempt(task.workspace.disable)
    never("SELECT 1 FROM tasks JOIN workspaces USING (wsid) WHERE state = 'DISABLED' AND status = 'PENDING'")


@guarded_by("tasks_wsid_2076fe8f_fk_workspaces_wsid")
def a_workspace_that_has_had_tasks_is_deleted() -> None:
    make_task(make_workspace(), status=Status.SUCCEEDED)
    attempt(lambda: execute("DELETE FROM workspaces"))
    never("SELECT 1 FROM tasks LEFT JOIN workspaces USING (wsid) WHERE state IS NULL")


@guarded_by("snapshots_wsid_e58f8700_fk_workspaces_wsid")
def a_workspace_that_has_snapshots_is_deleted() -> None:
    workspace_with_snapshot()
    attempt(lambda: execute("DELETE FROM workspaces"))
    never("SELECT 1 FROM snapshots LEFT JOIN workspaces USING (wsid) WHERE state IS NULL")


# — what is there once —


@guarded_by("tasks_idempotency")
def one_key_is_used_twice() -> None:
    task = make_task(make_workspace())
    attempt(lambda: make_task(task.workspace, idempotency_key=task.idempotency_key))
    holds(rows.i11_one_row_for_a_key)


@guarded_by("tasks_one_running_per_workspace")
def a_second_task_begins_to_run() -> None:
    workspace = make_workspace()
    make_task(workspace, status=Status.RUNNING)
    attempt(lambda: make_task(workspace, status=Status.RUNNING))
    holds(rows.i1_one_running)


@guarded_by("tasks_one_live_drop_per_snapshot")
def a_snapshot_is_dropped_twice() -> None:
    workspace, snapshot = workspace_with_snapshot()
    make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)
    attempt(lambda: make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot))
    assert Task.objects.dropping(snapshot.snapshot_id).count() == 1


@guarded_by("snapshots_path")
def two_snapshots_claim_one_directory() -> None:
    workspace, snapshot = workspace_with_snapshot()
    attempt(lambda: make_snapshot(workspace, fs_path=snapshot.fs_path))
    never("SELECT fs_path FROM snapshots GROUP BY wsid, fs_path HAVING count(*) > 1")


@guarded_by("workspaces_root_path_key")
def two_workspaces_claim_one_directory() -> None:
    workspace = make_workspace()
    attempt(lambda: make_workspace(root_path=workspace.root_path))
    never("SELECT root_path FROM workspaces GROUP BY root_path HAVING count(*) > 1")


@guarded_by("tasks_seq_key")
def two_tasks_claim_one_place_in_the_queue() -> None:
    task = make_task(make_workspace())
    attempt(lambda: make_task(task.workspace, seq=task.seq))
    never("SELECT seq FROM tasks GROUP BY seq HAVING count(*) > 1")


@guarded_by("tasks_pkey")
def two_tasks_have_one_id() -> None:
    make_task(make_workspace())
    attempt(lambda: copy("tasks", seq="nextval('task_seq')", idempotency_key="'another'"))
    never("SELECT task_id FROM tasks GROUP BY task_id HAVING count(*) > 1")


@guarded_by("snapshots_pkey")
def two_workspaces_have_a_snapshot_of_one_id() -> None:
    workspace_with_snapshot()
    other = make_workspace()
    attempt(lambda: copy("snapshots", wsid=f"'{other.wsid}'"))
    never("SELECT snapshot_id FROM snapshots GROUP BY snapshot_id HAVING count(*) > 1")


@guarded_by("workspaces_pkey")
def two_workspaces_have_one_id() -> None:
    make_workspace()
    attempt(lambda: copy("workspaces", root_path="'/x'", state="'DISABLED'", state_before_disable="'ACTIVE'"))
    never("SELECT wsid FROM workspaces GROUP BY wsid HAVING count(*) > 1")


@guarded_by("audit_pkey")
def two_events_have_one_id() -> None:
    AuditEvent.objects.create(wsid="ws-1", actor={}, action="test")
    attempt(lambda: copy("audit"))
    never("SELECT event_id FROM audit GROUP BY event_id HAVING count(*) > 1")


# — triggers —


@guarded_by("tasks_transitions")
def a_dead_task_is_run_again() -> None:
    task = make_task(make_workspace(), status=Status.DEAD)
    attempt(update("tasks", status="'RUNNING'", ended_at="NULL"))
    assert fresh(task).state is Status.DEAD


@guarded_by("workspaces_transitions")
def an_active_workspace_is_provisioned_again() -> None:
    make_workspace()
    attempt(update("workspaces", state="'PROVISIONING'"))
    assert Workspace.objects.get().state == WorkspaceState.ACTIVE


@guarded_by("workspaces_enable_to_before")
def a_workspace_that_never_was_initialised_is_enabled_as_an_active_one() -> None:
    make_workspace(state=WorkspaceState.DISABLED, state_before_disable=WorkspaceState.INIT_FAILED)
    attempt(update("workspaces", state="'ACTIVE'", state_before_disable="NULL"))
    assert Workspace.objects.get().state == WorkspaceState.DISABLED


@guarded_by("audit_append_only")
def what_was_done_is_denied() -> None:
    event = AuditEvent.objects.create(wsid="ws-1", actor={}, action="test")
    attempt(update("audit", action="'nothing'"))
    attempt(lambda: execute("DELETE FROM audit"))
    assert [(row.event_id, row.action) for row in AuditEvent.objects.all()] == [(event.event_id, "test")]


# — checks —


@guarded_by("workspaces_id_pattern")
def a_workspace_has_an_id_that_no_path_may_hold() -> None:
    attempt(lambda: make_workspace("../etc"))
    assert all(matches(WSID_PATTERN, row.wsid) for row in Workspace.objects.all())


@guarded_by("workspaces_state_known", beside=("workspaces_transitions",))
def a_workspace_is_in_a_state_that_nobody_knows() -> None:
    make_workspace()
    attempt(update("workspaces", state="'ASLEEP'"))
    assert {row.state for row in Workspace.objects.all()} <= set(WorkspaceState.values)


@guarded_by("workspaces_before_disable_iff_disabled")
def a_workspace_is_disabled_and_nobody_remembers_what_it_was() -> None:
    make_workspace()
    attempt(update("workspaces", state="'DISABLED'"))
    never("SELECT wsid FROM workspaces WHERE state = 'DISABLED' AND state_before_disable IS NULL")


@guarded_by("workspaces_before_disable_known")
def a_workspace_remembers_that_it_was_disabled_before() -> None:
    make_workspace()
    attempt(update("workspaces", state="'DISABLED'", state_before_disable="'DISABLED'"))
    never("SELECT wsid FROM workspaces WHERE state_before_disable = 'DISABLED'")


@guarded_by("workspaces_active_has_path")
def an_active_workspace_has_no_tree() -> None:
    make_workspace()
    attempt(update("workspaces", current_path="NULL"))
    never("SELECT wsid FROM workspaces WHERE state = 'ACTIVE' AND current_path IS NULL")


@guarded_by("workspaces_pointer_has_path", beside=("workspaces_active_has_path",))
def a_pointer_has_no_path() -> None:
    workspace, snapshot = workspace_with_snapshot()
    make_current(workspace, snapshot)
    attempt(update("workspaces", current_path="NULL"))
    never("SELECT wsid FROM workspaces WHERE current_snapshot_id IS NOT NULL AND current_path IS NULL")


@guarded_by("snapshots_id_pattern")
def a_snapshot_has_an_id_that_no_path_may_hold() -> None:
    attempt(lambda: make_snapshot(make_workspace(), snapshot_id="snap-../../etc"))
    assert all(matches(SNAPSHOT_ID_PATTERN, row.snapshot_id) for row in Snapshot.objects.all())


@guarded_by("snapshots_counts_sane")
def a_snapshot_holds_less_than_nothing() -> None:
    workspace_with_snapshot()
    attempt(update("snapshots", bytes="-1"))
    attempt(update("snapshots", entries="-1"))
    never("SELECT snapshot_id FROM snapshots WHERE bytes < 0 OR entries < 0")


@guarded_by("snapshots_deleted_by_a_task")
def a_snapshot_is_dropped_by_nobody() -> None:
    workspace_with_snapshot()
    attempt(update("snapshots", deleted_at="clock_timestamp()"))
    never("SELECT snapshot_id FROM snapshots WHERE deleted_at IS NOT NULL AND deleted_by IS NULL")


@guarded_by("tasks_id_pattern")
def a_task_has_an_id_that_no_path_may_hold() -> None:
    attempt(lambda: make_task(make_workspace(), task_id="task-1"))
    assert all(matches(TASK_ID_PATTERN, row.task_id) for row in Task.objects.all())


@guarded_by("tasks_op_known")
def a_task_is_to_do_what_nobody_can_do() -> None:
    attempt(lambda: make_task(make_workspace(), "format_disk"))
    assert {row.op for row in Task.objects.all()} <= set(Op.values)


@guarded_by("tasks_status_known", beside=("tasks_ended_iff_finished",))
def a_task_is_in_a_state_that_nobody_knows() -> None:
    make_task(make_workspace())
    # As a row that is born so: the trigger looks at updates.
    attempt(lambda: copy("tasks", task_id=f"'{new_task_id()}'", seq="0", idempotency_key="'x'", status="'LOST'"))
    assert {row.status for row in Task.objects.all()} <= set(Status.values)


@guarded_by("tasks_attempt_within_max")
def a_task_is_attempted_once_too_often() -> None:
    make_task(make_workspace(), status=Status.RUNNING, attempt=5)
    attempt(update("tasks", attempt="attempt + 1"))
    holds(rows.i4_attempts_and_fences)


@guarded_by("tasks_timeout_positive")
def a_task_has_no_time() -> None:
    make_task(make_workspace())
    attempt(update("tasks", timeout_seconds="0"))
    never("SELECT task_id FROM tasks WHERE timeout_seconds <= 0")


@guarded_by("tasks_ended_iff_finished")
def a_task_is_finished_and_has_not_ended() -> None:
    make_task(make_workspace(), status=Status.RUNNING)
    attempt(update("tasks", status="'SUCCEEDED'"))
    assert not Task.objects.filter(status__in=FINISHED, ended_at__isnull=True).exists()


@guarded_by("tasks_running_has_fence")
def a_run_has_no_fence() -> None:
    make_task(make_workspace())
    attempt(lambda: Task.objects.update(status=Status.RUNNING, started_at=ClockTimestamp()))
    never("SELECT task_id FROM tasks WHERE status = 'RUNNING' AND fence IS NULL")


@guarded_by("tasks_unknown_only_while_live")
def a_finished_task_is_to_be_probed() -> None:
    make_task(make_workspace(), status=Status.SUCCEEDED)
    attempt(update("tasks", outcome_unknown="true"))
    assert not Task.objects.filter(status__in=FINISHED, outcome_unknown=True).exists()


@guarded_by("tasks_snapshot_op_names_one")
def a_switch_goes_to_no_snapshot() -> None:
    attempt(lambda: make_task(make_workspace(), Op.SET_CURRENT, params={"snapshot_id": None}))
    never("SELECT task_id FROM tasks WHERE op <> 'init_workspace' AND snapshot_id IS NULL")

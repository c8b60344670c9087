"""The transition tables are PostgreSQL's too: it refuses every edge that they do not have (SPEC §5, §6)."""

from __future__ import annotations

from itertools import product

import pytest
from django.db import connection

from tasks.models import Task
from tasks.states import TRANSITIONS, Status, may_move
from tests.db.refusal import refusal, sql
from tests.factories import make_task, make_workspace
from workspaces.models import Workspace
from workspaces.states import TRANSITIONS as WORKSPACE_TRANSITIONS
from workspaces.states import WorkspaceState

pytestmark = pytest.mark.django_db


def _set_status(task: Task, status: Status) -> None:
    """With whatever columns the new status asks for, so that nothing but the trigger can object."""
    sql(
        """UPDATE tasks SET status = %s, ended_at = CASE WHEN %s THEN clock_timestamp() END,
               fence = coalesce(fence, nextval('task_fence')), started_at = coalesce(started_at, clock_timestamp())
           WHERE task_id = %s""",
        status.value,
        status.is_finished,
        task.task_id,
    )


@pytest.mark.rule("SPEC §6")
@pytest.mark.parametrize(("old", "new"), list(product(Status, Status)))
def test_postgresql_lets_a_task_take_exactly_the_edges_of_the_table(old: Status, new: Status) -> None:
    task = make_task(make_workspace(), status=old)
    if may_move(old, new) or old == new:
        _set_status(task, new)
        assert Task.objects.get().status == new
    else:
        assert "Invalid transition" in str(refusal(lambda: _set_status(task, new)))
        assert Task.objects.get().status == old


@pytest.mark.rule("SPEC §6")
def test_the_trigger_was_made_from_the_transition_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
               WHERE t.tgrelid = 'tasks'::regclass AND t.tgname LIKE 'pgtrigger_tasks_transitions_%%'"""
        )
        (source,) = cursor.fetchone()
    listed = source.split("'{")[1].split("}'")[0].split(",")
    assert sorted(listed) == sorted(f"{old.value}:{new.value}" for old, new in TRANSITIONS)


def test_every_status_but_the_first_is_reached_and_every_finished_one_is_the_end() -> None:
    assert {new for _, new in TRANSITIONS} == set(Status) - {Status.PENDING}
    assert {old for old, _ in TRANSITIONS} == {status for status in Status if status.is_live}


def _set_state(workspace: Workspace, new: WorkspaceState, before: WorkspaceState | None) -> None:
    sql(
        "UPDATE workspaces SET state = %s, state_before_disable = %s, current_path = '/ws/x/live/initial' "
        "WHERE wsid = %s",
        new.value,
        before.value if before else None,
        workspace.wsid,
    )


@pytest.mark.rule("SPEC §5")
@pytest.mark.parametrize(("old", "new"), list(product(WorkspaceState, WorkspaceState)))
def test_postgresql_lets_a_workspace_take_exactly_the_edges_of_the_table(
    old: WorkspaceState, new: WorkspaceState
) -> None:
    disabled = old == WorkspaceState.DISABLED
    # Of a disabled one, remember the state that is tried, so that only the table decides.
    remembered = (WorkspaceState.ACTIVE if new == old else new) if disabled else None
    workspace = make_workspace(state=old, state_before_disable=remembered)
    before = (remembered or old) if new == WorkspaceState.DISABLED else None
    if old == new or (old, new) in WORKSPACE_TRANSITIONS:
        _set_state(workspace, new, before)
        assert Workspace.objects.get().state == new
    else:
        assert "Invalid transition" in str(refusal(lambda: _set_state(workspace, new, before)))


_STATES_BEFORE = [state for state in WorkspaceState if state != WorkspaceState.DISABLED]


@pytest.mark.rule("H11")
@pytest.mark.parametrize(("before", "to"), list(product(_STATES_BEFORE, _STATES_BEFORE)))
def test_a_disabled_workspace_goes_back_only_to_its_state_before(before: WorkspaceState, to: WorkspaceState) -> None:
    workspace = make_workspace(state=WorkspaceState.DISABLED, state_before_disable=before)
    if before == to:
        _set_state(workspace, to, None)
        assert Workspace.objects.get().state == before
    else:
        error = refusal(lambda: _set_state(workspace, to, None))
        assert error.sqlstate == "23514"
        assert f"goes back to {before.value}" in str(error)

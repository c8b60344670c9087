"""`manage.py retry_tasks`, and the service behind it: what a DEAD task was to do, tried anew (SPEC §6, §9)."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from snapshots.models import Snapshot
from tasks.models import AuditEvent, Op, Task
from tasks.services import retry_dead_task
from tasks.states import Status
from tests.factories import ACTOR, from_now, make_current, make_snapshot, make_task, make_workspace
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode, WvsError

pytestmark = [pytest.mark.rule("§6"), pytest.mark.django_db]


def retry_tasks(*arguments: str) -> str:
    """What it says on standard output."""
    out = StringIO()
    call_command("retry_tasks", *arguments, stdout=out, stderr=StringIO(), no_color=True)
    return out.getvalue()


def retry_json(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(retry_tasks("--json", *arguments))["tasks"]
    return found


def dead(workspace: Workspace, op: str = Op.SNAPSHOT_CREATE, **fields: Any) -> Task:
    return make_task(workspace, op, status=Status.DEAD, **fields)


def refusal_of(task: Task) -> WvsError:
    before = Task.objects.count()
    with pytest.raises(WvsError) as refused:
        retry_dead_task(task_id=task.task_id, actor=ACTOR)
    assert Task.objects.count() == before
    return refused.value


def retried(task: Task) -> Task:
    return retry_dead_task(task_id=task.task_id, actor=ACTOR).task


def test_a_dead_snapshot_is_retried_by_a_new_task_with_a_new_snapshot_id() -> None:
    old = dead(make_workspace(), params={"snapshot_id": "snap-01890000-0000-7000-8000-000000000001", "message": "m"})
    new = retried(old)
    assert (new.status, new.attempt, new.op, new.workspace_id) == (Status.PENDING, 0, old.op, old.workspace_id)
    assert new.params["retries"] == old.task_id
    assert new.params["message"] == "m"
    assert new.params["snapshot_id"] != old.params["snapshot_id"]
    old.refresh_from_db()
    assert old.status == Status.DEAD


def test_the_retry_is_in_the_audit_trail_with_who_asked_for_it() -> None:
    new = retried(dead(make_workspace()))
    event = AuditEvent.objects.get(task_id=new.task_id)
    assert (event.action, event.actor) == ("task.retry", ACTOR.as_json())
    assert event.payload["after"]["retries"] == new.params["retries"]


def test_asked_again_it_answers_with_the_same_task() -> None:
    old = dead(make_workspace())
    first = retried(old)
    again = retry_dead_task(task_id=old.task_id, actor=ACTOR)
    assert (again.task.task_id, again.replayed) == (first.task_id, True)


def test_a_retry_that_died_is_retried_by_its_own_id() -> None:
    workspace = make_workspace()
    first = dead(workspace)
    second = retried(first)
    Task.objects.filter(pk=second.pk).update(status=Status.RUNNING, attempt=1, fence=1, started_at=from_now(0))
    Task.objects.filter(pk=second.pk).update(status=Status.DEAD, ended_at=from_now(0))
    assert retried(second).params["retries"] == second.task_id


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.DEAD])
def test_only_a_dead_task_can_be_retried(status: Status) -> None:
    task = make_task(make_workspace(), status=status)
    refused = refusal_of(task)
    assert refused.code is ErrorCode.PRECONDITION_FAILED
    assert refused.details["blockers"] == [{"task_id": task.task_id, "op": task.op, "status": status}]


def test_a_task_that_is_not_there_is_not_found() -> None:
    with pytest.raises(WvsError) as refused:
        retry_dead_task(task_id="task-01890000-0000-7000-8000-000000000001", actor=ACTOR)
    assert refused.value.code is ErrorCode.NOT_FOUND


def test_a_dead_switch_is_retried_to_the_same_snapshot_and_stays_fresh() -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    old = dead(workspace, Op.SET_CURRENT, params={"snapshot_id": snapshot.snapshot_id, "fresh": True})
    assert retried(old).params == {"snapshot_id": snapshot.snapshot_id, "fresh": True, "retries": old.task_id}


def test_a_dead_switch_to_a_dropped_snapshot_is_refused() -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace, dropped=True)
    refused = refusal_of(dead(workspace, Op.SET_CURRENT, params={"snapshot_id": snapshot.snapshot_id}))
    assert refused.code is ErrorCode.NOT_FOUND


def test_a_dead_drop_is_retried_unless_something_needs_the_snapshot() -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    old = dead(workspace, Op.SNAPSHOT_DROP, params={"snapshot_id": snapshot.snapshot_id})
    make_current(workspace, snapshot)
    assert refusal_of(old).code is ErrorCode.CONFLICT_SNAPSHOT_IN_USE
    make_current(workspace, make_snapshot(workspace))
    assert retried(old).params["snapshot_id"] == snapshot.snapshot_id


def test_of_a_drop_whose_snapshot_is_marked_the_sweep_takes_care_and_retry_says_so() -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    old = dead(workspace, Op.SNAPSHOT_DROP, params={"snapshot_id": snapshot.snapshot_id})
    Snapshot.objects.filter(pk=snapshot.pk).update(deleted_at=from_now(0), deleted_by=old.task_id)
    refused = refusal_of(old)
    assert refused.code is ErrorCode.PRECONDITION_FAILED
    assert "the sweep deletes what is left of it" in refused.message


def test_a_dead_init_is_retried_as_retry_init_does_it() -> None:
    workspace = make_workspace(state=WorkspaceState.INIT_FAILED)
    old = dead(workspace, Op.INIT_WORKSPACE, params={"owner": "team-a"})
    new = retried(old)
    workspace.refresh_from_db()
    assert workspace.state == WorkspaceState.PROVISIONING
    assert new.params == {"owner": "team-a", "retries": old.task_id}


def test_nothing_is_retried_in_a_disabled_workspace() -> None:
    workspace = make_workspace(state=WorkspaceState.DISABLED)
    for op in (Op.SNAPSHOT_CREATE, Op.INIT_WORKSPACE):
        assert refusal_of(dead(workspace, op)).code is ErrorCode.GONE


def test_the_command_retries_by_id_and_says_by_which_task() -> None:
    old = dead(make_workspace())
    said = retry_tasks(old.task_id)
    new = Task.objects.get(params__retries=old.task_id)
    assert said == f"{old.task_id}  snapshot_create  {old.workspace_id}  retried by {new.task_id}\n"
    assert new.actor["type"] == "command"


def test_tasks_are_chosen_by_operation_workspace_and_age() -> None:
    here, there = make_workspace(), make_workspace()
    young, switch, other = dead(here), dead(here, Op.SET_CURRENT), dead(there)
    old = dead(here)
    Task.objects.filter(pk=old.pk).update(ended_at=from_now(-7200))
    make_task(here, status=Status.CANCELED)

    def chosen(*arguments: str) -> set[str]:
        try:
            return {each["task_id"] for each in retry_json("--dry-run", *arguments)}
        except CommandError:
            return set()  # refused ones

    assert chosen("--wsid", here.wsid, "--op", "snapshot_create") == {young.task_id, old.task_id}
    assert chosen("--op", "snapshot_create", "--newer-than", "1h") == {young.task_id, other.task_id}
    assert chosen("--older-than", "1h") == {old.task_id}
    assert switch.status == Status.DEAD


def test_a_dry_run_changes_nothing_and_says_the_same() -> None:
    old = dead(make_workspace())
    before = Task.objects.count(), AuditEvent.objects.count()
    assert "would be retried" in retry_tasks("--all", "--dry-run")
    assert (Task.objects.count(), AuditEvent.objects.count()) == before
    assert retry_json("--all", "--dry-run") == [
        {
            "task_id": old.task_id,
            "wsid": old.workspace_id,
            "op": "snapshot_create",
            "retried_by": None,
            "replayed": False,
            "refused": None,
        }
    ]


def test_what_is_refused_is_said_and_the_others_are_retried(capsys: pytest.CaptureFixture[str]) -> None:
    gone, good = dead(make_workspace(state=WorkspaceState.DISABLED)), dead(make_workspace())
    out = StringIO()
    with pytest.raises(CommandError, match="1 of 2 were refused") as failed:
        call_command("retry_tasks", "--all", stdout=out, no_color=True)
    assert failed.value.returncode == 1
    assert f"{gone.task_id}  snapshot_create  {gone.workspace_id}  refused: WVS_GONE" in out.getvalue()
    assert Task.objects.filter(params__retries=good.task_id).count() == 1


@pytest.mark.parametrize("arguments", [(), ("task-1", "--all"), ("task-1", "--op", "set_current")])
def test_without_a_clear_choice_nothing_is_done(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as failed:
        retry_tasks(*arguments)
    assert failed.value.returncode == 2

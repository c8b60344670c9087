"""`manage.py create_demo`: a believable data set that breaks no rule (SPEC §9)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from snapshots.console.figures import per_day, read_figures
from snapshots.demo import write_story
from snapshots.models import Snapshot
from tasks.models import AuditEvent, Op, Task
from tasks.services import retry_dead_task
from tasks.states import Status
from tests.factories import ACTOR, make_workspace
from workspaces.models import Workspace
from workspaces.states import WorkspaceState

pytestmark = [pytest.mark.rule("§9"), pytest.mark.django_db]


def create_demo(*arguments: str) -> str:
    """What it says on standard output."""
    out = StringIO()
    call_command("create_demo", *arguments, stdout=out, stderr=StringIO(), no_color=True)
    return out.getvalue()


def test_there_are_workspaces_in_every_state_and_dead_tasks_of_each_operation() -> None:
    create_demo()
    assert set(Workspace.objects.values_list("state", flat=True)) == set(WorkspaceState.values)
    dead = Task.objects.filter(status=Status.DEAD)
    assert set(dead.values_list("op", flat=True)) == set(Op.values)
    assert all(task.error and task.error["reason"] and task.attempt == task.max_attempts for task in dead)
    assert set(Task.objects.values_list("status", flat=True)) >= {"SUCCEEDED", "DEAD", "CANCELED", "PENDING"}


def test_its_history_hangs_together() -> None:
    create_demo()
    for snapshot in Snapshot.objects.all():
        made = Task.objects.get(pk=snapshot.created_by)
        assert (made.op, made.snapshot_id) == (Op.SNAPSHOT_CREATE, snapshot.pk)
    for workspace in Workspace.objects.exclude(current_snapshot_id=None):
        assert Snapshot.objects.kept().filter(pk=workspace.current_snapshot_id, workspace=workspace).exists()
    for task in Task.objects.exclude(status=Status.PENDING):
        assert task.ended_at is not None
        assert task.created_at <= task.ended_at
        assert AuditEvent.objects.filter(task_id=task.task_id).count() == 2


def test_the_charts_of_the_dashboard_tell_its_four_weeks() -> None:
    create_demo()
    figures = read_figures()
    ended = per_day(figures, status=Status.SUCCEEDED)
    assert sum(count > 0 for count in ended) > 20
    assert sum(ended) == Task.objects.filter(status=Status.SUCCEEDED).count()
    assert sum(per_day(figures, status=Status.SUCCEEDED, ops=[Op.SNAPSHOT_DROP])) > 10
    kept = figures.kept_by_day
    assert len(kept) > 20
    assert kept[figures.days[-1]].snapshots == Snapshot.objects.kept().count()
    assert len({one.snapshots for one in kept.values()}) > 10


def test_no_worker_touches_what_waits_in_it() -> None:
    create_demo()
    live = Task.objects.live()
    assert live.exists()
    assert not any(Task.objects.has_due_head(task.workspace_id) for task in live)


def test_its_dead_tasks_can_be_retried_where_their_workspace_lives() -> None:
    create_demo()
    dead = Task.objects.dead().filter(workspace__state=WorkspaceState.ACTIVE, op=Op.SNAPSHOT_CREATE)
    assert dead.exists()
    for task in dead:
        assert retry_dead_task(task_id=task.task_id, actor=ACTOR).task.params["retries"] == task.task_id


def test_one_seed_is_one_story_and_another_seed_another() -> None:
    now = datetime(2026, 5, 4, tzinfo=UTC)

    def names(seed: int) -> list[str]:
        return [task.task_id for task in write_story(workspaces=12, seed=seed, now=now).tasks]

    assert names(1) == names(1)
    assert names(1) != names(2)


def test_a_dry_run_writes_nothing() -> None:
    said: dict[str, Any] = json.loads(create_demo("--dry-run", "--json", "--workspaces", "12"))
    assert (said["dry_run"], said["workspaces"]) == (True, 12)
    assert said["tasks"] > 12
    assert not Workspace.objects.exists()


def test_where_real_workspaces_live_it_refuses() -> None:
    make_workspace("real-work")
    with pytest.raises(CommandError, match="real-work lives here") as refused:
        create_demo()
    assert refused.value.returncode == 2
    assert not Task.objects.exists()


def test_it_is_made_once() -> None:
    create_demo()
    with pytest.raises(CommandError, match="here already"):
        create_demo()


def test_it_says_what_it_wrote() -> None:
    assert "24 workspaces" in create_demo()

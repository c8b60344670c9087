"""Every named constraint of every model has a statement here that PostgreSQL refuses by that name (SPEC §5)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import UniqueConstraint

from tasks.models import Op, Task, TaskDay
from tasks.states import Status
from tests.db.refusal import refused_by, sql
from tests.factories import make_current, make_snapshot, make_task, make_workspace, new_wsid
from workspaces.models import Order, OrderKind, Workspace
from workspaces.states import WorkspaceState
from wvs_project.db import ClockTimestamp
from wvs_project.ids import new_snapshot_id, new_task_id

pytestmark = pytest.mark.django_db

Violation = Callable[[], object]
_APPS = ("workspaces", "snapshots", "tasks")


def _workspace_fields(**fields: object) -> Violation:
    workspace = make_workspace(new_wsid())
    return lambda: Workspace.objects.filter(pk=workspace.wsid).update(**fields)


def _task_fields(was: str = Status.PENDING, **fields: object) -> Violation:
    task = make_task(make_workspace(), status=was)
    return lambda: Task.objects.filter(pk=task.pk).update(**fields)


def _current_is_anothers() -> Violation:
    workspace, other = make_workspace(), make_workspace()
    snapshot = make_snapshot(other)
    return lambda: make_current(workspace, snapshot)


def _same_path_twice() -> Violation:
    workspace = make_workspace()
    first = make_snapshot(workspace)
    return lambda: make_snapshot(workspace, fs_path=first.fs_path)


def _same_key_twice() -> Violation:
    workspace = make_workspace()
    first = make_task(workspace)
    return lambda: make_task(workspace, idempotency_key=first.idempotency_key)


def _two_running() -> Violation:
    workspace = make_workspace()
    make_task(workspace, status=Status.RUNNING)
    return lambda: make_task(workspace, status=Status.RUNNING)


def _two_live_drops() -> Violation:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)
    return lambda: make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)


def _reference_to_a_dropped_one() -> Violation:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace, dropped=True)
    return lambda: make_task(workspace, Op.SET_CURRENT, snapshot=snapshot)


def _unknown_status() -> Violation:
    # That one refuses it as well, and is asked first.
    sql("ALTER TABLE tasks DROP CONSTRAINT tasks_ended_iff_finished")
    workspace = make_workspace()
    return lambda: Task.objects.create(
        task_id=new_task_id(), workspace=workspace, op=Op.INIT_WORKSPACE, status="LOST", actor={}
    )


def _live_task_in_a_disabled_workspace() -> Violation:
    workspace = make_workspace(state=WorkspaceState.DISABLED)
    return lambda: make_task(workspace)


def _snapshot_fields(**fields: Any) -> Violation:
    workspace = make_workspace()
    return lambda: make_snapshot(workspace, **fields)


def _order(**fields: Any) -> Order:
    values: dict[str, Any] = {"workspace": make_workspace(), "kind": OrderKind.SWEEP, "actor": {}}
    return Order.objects.create(**(values | fields))


def _two_open_orders() -> Violation:
    first = _order()
    return lambda: _order(workspace=first.workspace)


def _day(count: int = 1) -> TaskDay:
    return TaskDay.objects.create(day=date(2026, 5, 4), op=Op.SET_CURRENT, status=Status.DEAD, count=count)


def _same_day_twice() -> Violation:
    _day()
    return _day


_VIOLATIONS: dict[str, Callable[[], Violation]] = {
    "workspaces_id_pattern": lambda: lambda: make_workspace("-not-a-wsid"),
    "workspaces_state_known": lambda: lambda: make_workspace(state="ASLEEP"),
    "workspaces_before_disable_iff_disabled": lambda: _workspace_fields(state_before_disable=WorkspaceState.ACTIVE),
    "workspaces_before_disable_known": lambda: (
        lambda: make_workspace(state=WorkspaceState.DISABLED, state_before_disable=WorkspaceState.DISABLED)
    ),
    "workspaces_active_has_path": lambda: _workspace_fields(current_path=None),
    "workspaces_pointer_has_path": lambda: (
        lambda: make_workspace(state=WorkspaceState.INIT_FAILED, current_snapshot_id=new_snapshot_id())
    ),
    "workspaces_current_snapshot_is_live": _current_is_anothers,
    "snapshots_id_pattern": lambda: _snapshot_fields(snapshot_id="snap-../../etc"),
    "snapshots_counts_sane": lambda: _snapshot_fields(entries=-1),
    "snapshots_deleted_by_a_task": lambda: _snapshot_fields(deleted_at=ClockTimestamp()),
    "snapshots_path": _same_path_twice,
    "tasks_id_pattern": lambda: lambda: make_task(make_workspace(), task_id="task-1"),
    "tasks_op_known": lambda: lambda: make_task(make_workspace(), "format_disk"),
    "tasks_status_known": _unknown_status,
    "tasks_attempt_within_max": lambda: _task_fields(Status.RUNNING, attempt=6),
    "tasks_timeout_positive": lambda: _task_fields(timeout_seconds=0),
    "tasks_ended_iff_finished": lambda: _task_fields(Status.RUNNING, status=Status.SUCCEEDED),
    "tasks_running_has_fence": lambda: _task_fields(Status.RUNNING, fence=None),
    "tasks_unknown_only_while_live": lambda: _task_fields(Status.SUCCEEDED, outcome_unknown=True),
    "tasks_snapshot_op_names_one": lambda: lambda: make_task(make_workspace(), params={"snapshot_id": None}),
    "tasks_idempotency": _same_key_twice,
    "tasks_one_running_per_workspace": _two_running,
    "tasks_one_live_drop_per_snapshot": _two_live_drops,
    "tasks_ref_snapshot_is_live": _reference_to_a_dropped_one,
    "tasks_live_in_enabled_workspace": _live_task_in_a_disabled_workspace,
    "task_days_once": _same_day_twice,
    "task_days_counted": lambda: lambda: _day(count=0),
    "orders_kind_known": lambda: lambda: _order(kind="reboot"),
    "orders_ended_iff_said": lambda: lambda: _order(ended_at=ClockTimestamp()),
    "orders_one_open_of_a_kind": _two_open_orders,
}

_ONLY_TARGETS = {"workspaces_enabled_key", "snapshots_live_key"}
"""Unique because their first column, or first two, are: they exist to be referred to."""


@pytest.mark.rule("SPEC §5")
@pytest.mark.parametrize("name", _VIOLATIONS)
def test_postgresql_refuses_what_the_constraint_forbids(name: str) -> None:
    violation = _VIOLATIONS[name]()
    assert refused_by(violation) == name


def _constraints() -> set[str]:
    models = [model for app in _APPS for model in apps.get_app_config(app).get_models()]
    return {constraint.name for model in models for constraint in model._meta.constraints}


def test_every_named_constraint_has_a_test() -> None:
    assert _constraints() == set(_VIOLATIONS) | _ONLY_TARGETS


def test_every_named_constraint_index_and_trigger_is_in_the_database() -> None:
    models = [model for app in _APPS for model in apps.get_app_config(app).get_models()]
    named = _constraints() | {index.name for model in models for index in model._meta.indexes}
    triggers = {trigger.name for model in models for trigger in getattr(model._meta, "triggers", [])}
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT conname FROM pg_constraint WHERE connamespace = 'wvs'::regnamespace
               UNION SELECT indexname FROM pg_indexes WHERE schemaname = 'wvs'"""
        )
        there = {row[0] for row in cursor.fetchall()}
        cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'O'")
        there_triggers = {row[0].removeprefix("pgtrigger_").rpartition("_")[0] for row in cursor.fetchall()}
    assert named <= there
    assert triggers
    assert triggers <= there_triggers


@pytest.mark.parametrize("name", sorted(_ONLY_TARGETS))
def test_a_target_of_a_foreign_key_starts_with_what_is_unique_already(name: str) -> None:
    models = [model for app in _APPS for model in apps.get_app_config(app).get_models()]
    (target,) = (c for model in models for c in model._meta.constraints if c.name == name)
    (owner,) = (model for model in models if target in model._meta.constraints)
    assert isinstance(target, UniqueConstraint)
    assert owner._meta.pk.name in target.fields

"""Workspaces and operators' orders in the admin (SPEC §9): looked at here; changed through the services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks.console.actions import OperableAdmin, on_list, on_page
from tasks.console.readonly import GivenFilter, ReadOnlyAdmin, WsidFilter
from tasks.console.shown import (
    NOTHING,
    Table,
    badge,
    list_link,
    moment,
    order_link,
    readable,
    seconds_between,
    snapshot_link,
    status_badge,
    task_link,
    who,
    workspace_link,
)
from tasks.models import Task
from workspaces.deeds import DETACH_AGENT, DISABLE, ENABLE, RETRY_INIT, SWEEP
from workspaces.models import Order, OrderKind, Workspace
from workspaces.states import WorkspaceState

SHOWN: Final = 20
"""Rows of each table on a workspace's page; the lists have the rest."""

_MOODS: Final = {
    WorkspaceState.PROVISIONING: "busy",
    WorkspaceState.ACTIVE: "good",
    WorkspaceState.INIT_FAILED: "bad",
    WorkspaceState.DISABLED: "late",
}


class OwnerFilter(GivenFilter):
    """By owner."""

    title = parameter_name = column = "owner"


@admin.register(Workspace)
class WorkspaceAdmin(OperableAdmin):
    """Agents' working directories."""

    operate = "workspaces.operate_workspace"
    list_display = ("wsid", "state_", "owner", "current", "created", "updated")
    list_filter = ("state", OwnerFilter)
    search_fields = ("wsid",)
    search_help_text = "wsid or its beginning, or an owner"
    retry_init_page, retry_init_list = on_page(RETRY_INIT), on_list(RETRY_INIT)
    disable_page, disable_list = on_page(DISABLE), on_list(DISABLE)
    enable_page, enable_list = on_page(ENABLE), on_list(ENABLE)
    detach_page, detach_list = on_page(DETACH_AGENT), on_list(DETACH_AGENT)
    sweep_page, sweep_list = on_page(SWEEP), on_list(SWEEP)
    actions = ("retry_init_list", "disable_list", "enable_list", "detach_list", "sweep_list")
    actions_detail = ("retry_init_page", "disable_page", "enable_page", "detach_page", "sweep_page")
    fieldsets = (
        ("Workspace", {"fields": (("wsid", "owner"), ("state_", "before"), ("created", "updated"), "root_path")}),
        ("What the agent sees", {"fields": ("current", "current_path", "agent")}),
    )

    def find(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By the beginning of the wsid; where no workspace begins so, by owner."""
        named = rows.filter(pk__startswith=term)
        return named if named.exists() else rows.filter(owner=term)

    def tables(self, request: HttpRequest, row: Workspace) -> Sequence[Table]:
        """What goes on, what there is to go back to, what was asked of the scheduler."""
        return [_live_tasks(row), _last_tasks(row), _last_snapshots(row), _last_orders(row)]

    @admin.display(description="state")
    def state_(self, workspace: Workspace) -> SafeString:
        """In colour."""
        return badge(workspace.state, _MOODS[WorkspaceState(workspace.state)])

    @admin.display(description="before it was disabled")
    def before(self, workspace: Workspace) -> str:
        """What enable goes back to."""
        return workspace.state_before_disable or NOTHING

    @admin.display(description="current snapshot")
    def current(self, workspace: Workspace) -> SafeString | str:
        """The snapshot that the tree came from, if it came from one."""
        return snapshot_link(workspace.current_snapshot_id)

    @admin.display(description="last looked for an agent")
    def agent(self, workspace: Workspace) -> SafeString | str:
        """What the last order about its agent found."""
        found = workspace.orders.filter(kind=OrderKind.DETACH_AGENT).order_by("-created_at").first()
        return format_html("{} {}", order_link(found.order_id), _ended(found)) if found else NOTHING

    @admin.display(description="created (UTC)")
    def created(self, workspace: Workspace) -> str:
        """When it was asked for."""
        return moment(workspace.created_at)

    @admin.display(description="updated (UTC)")
    def updated(self, workspace: Workspace) -> str:
        """When its state or pointer changed last."""
        return moment(workspace.updated_at)


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    """What operators asked of the scheduler, and what came of it."""

    list_display = ("order_id", "kind", "workspace_", "ended", "by", "created", "took")
    list_filter = (WsidFilter,)
    search_fields = ("order_id",)
    search_help_text = "order id, or a wsid"
    fieldsets = (
        ("Order", {"fields": ("order_id", "kind", "workspace_", "by", "request_id", "created", "took")}),
        ("What came of it", {"fields": ("ended", "outcome_")}),
    )

    def find(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By the number, or the workspace."""
        if term.isascii() and term.isdecimal() and len(term) < 19:
            return rows.filter(pk=int(term))
        return rows.filter(workspace_id=term)

    @admin.display(description="wsid")
    def workspace_(self, order: Order) -> SafeString | str:
        """Its workspace."""
        return workspace_link(order.workspace_id)

    @admin.display(description="state")
    def ended(self, order: Order) -> SafeString:
        """Whether it is done."""
        return _ended(order)

    @admin.display(description="actor")
    def by(self, order: Order) -> str:
        """Who asked."""
        return who(order.actor)

    @admin.display(description="created (UTC)")
    def created(self, order: Order) -> str:
        """When."""
        return moment(order.created_at)

    @admin.display(description="took")
    def took(self, order: Order) -> str:
        """From asked to done."""
        return seconds_between(order.created_at, order.ended_at)

    @admin.display(description="outcome")
    def outcome_(self, order: Order) -> SafeString | str:
        """As the scheduler said it."""
        return readable(order.outcome)


def _ended(order: Order) -> SafeString:
    if order.ended_at is None:
        return badge("open", "busy")
    if order.error:
        return format_html("{} {}", badge("failed", "bad"), order.error)
    return format_html("{} {}", badge("done", "good"), (order.outcome or {}).get("outcome", ""))


_TASK_HEADERS: Final = ("task", "op", "status", "attempt", "created (UTC)", "accepted → ended")


def _task_row(task: Task) -> tuple[object, ...]:
    took = seconds_between(task.created_at, task.ended_at)
    return task_link(task.task_id), task.op, status_badge(task.status), task.attempt, moment(task.created_at), took


def _live_tasks(workspace: Workspace) -> Table:
    rows = [_task_row(task) for task in Task.objects.of_workspace(workspace.wsid).live().in_order()[:SHOWN]]
    return Table("Live tasks, in their order", _TASK_HEADERS, rows)


def _last_tasks(workspace: Workspace) -> Table:
    newest = Task.objects.of_workspace(workspace.wsid).order_by("-created_at", "-task_id")[:SHOWN]
    more = format_html(
        "{}, {}",
        list_link("tasks_task", "all", wsid=workspace.wsid),
        list_link("tasks_auditevent", "the audit trail", wsid=workspace.wsid),
    )
    return Table("Last tasks", _TASK_HEADERS, [_task_row(task) for task in newest], more)


def _last_snapshots(workspace: Workspace) -> Table:
    kept = workspace.snapshots.filter(deleted_at__isnull=True).order_by("-created_at", "-snapshot_id")[:SHOWN]
    rows = [
        (snapshot_link(found.pk), found.message[:80], found.entries, found.bytes, moment(found.created_at))
        for found in kept
    ]
    headers = ("snapshot", "message", "entries", "bytes", "created (UTC)")
    return Table(
        "Last snapshots", headers, rows, list_link("snapshots_snapshot", "all, dropped ones too", wsid=workspace.wsid)
    )


def _last_orders(workspace: Workspace) -> Table:
    newest = workspace.orders.order_by("-created_at")[:SHOWN]
    rows = [
        (order_link(order.order_id), order.kind, who(order.actor), moment(order.created_at), _ended(order))
        for order in newest
    ]
    more = list_link("workspaces_order", "all", wsid=workspace.wsid)
    return Table("Orders to the scheduler", ("order", "kind", "actor", "created (UTC)", "state"), rows, more)

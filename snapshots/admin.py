"""Snapshots in the admin (SPEC §9): looked at here; dropped and switched to through the services."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.enums import ActionVariant

from snapshots.models import Snapshot
from snapshots.services import drop_snapshot, set_current
from tasks.console.actions import Asked, ConsoleAction, OperableAdmin, on_list, on_page, task_made
from tasks.console.readonly import WsidFilter
from tasks.console.shown import (
    NOTHING,
    Table,
    badge,
    list_link,
    moment,
    status_badge,
    task_link,
    who,
    whole,
    workspace_link,
)
from tasks.models import Task
from wvs_project.ids import SNAPSHOT_ID_PATTERN, matches

TASKS_SHOWN: Final = 20

_ID_PREFIX: Final = re.compile(r"snap-[0-9a-f-]{1,36}")


def _drop(snapshot: Snapshot, asked: Asked) -> SafeString:
    wsid, snapshot_id = snapshot.workspace_id, snapshot.snapshot_id
    token = asked.token("drop", snapshot_id)
    write = drop_snapshot(wsid=wsid, snapshot_id=snapshot_id, token=token, actor=asked.actor)
    return task_made(write, f"{snapshot_id} is dropped by a task")


def _set_current(snapshot: Snapshot, asked: Asked) -> SafeString:
    wsid, snapshot_id = snapshot.workspace_id, snapshot.snapshot_id
    token = asked.token("set-current", snapshot_id)
    write = set_current(wsid=wsid, snapshot_id=snapshot_id, fresh=False, token=token, actor=asked.actor)
    return task_made(write, f"{wsid} is switched to {snapshot_id} by a task")


DROP: Final = ConsoleAction(
    name="drop",
    label="Drop",
    question="Delete it, unless something needs it? There is no way back.",
    perform=_drop,
    fits=lambda snapshot: snapshot.deleted_at is None,
    icon="delete",
    variant=ActionVariant.DANGER,
)
SET_CURRENT: Final = ConsoleAction(
    name="set-current",
    label="Switch to it",
    question="Switch its workspace to it?",
    note="What was written since the last snapshot stays in the old live tree for its time of grace only.",
    perform=_set_current,
    fits=lambda snapshot: snapshot.deleted_at is None,
    icon="history",
)


class DiskFilter(admin.SimpleListFilter):
    """By what the row says of the disk."""

    title = parameter_name = "disk"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Kept and dropped are what a task made of it; a missing one lost its directory otherwise."""
        return [("kept", "kept"), ("dropped", "dropped"), ("missing", "kept, and yet missing")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of which it says so."""
        match self.value():
            case "kept":
                return queryset.filter(deleted_at__isnull=True)
            case "dropped":
                return queryset.filter(deleted_at__isnull=False)
            case "missing":
                return queryset.filter(deleted_at__isnull=True, orphaned_at__isnull=False)
        return queryset


@admin.register(Snapshot)
class SnapshotAdmin(OperableAdmin):
    """Read-only copies of trees. Newest first is by the id, which holds the time and is the one index over all."""

    operate = "snapshots.operate_snapshot"
    keyset = None
    list_display = ("snapshot", "workspace_", "disk", "message_", "entries", "bytes", "created")
    list_filter = (DiskFilter, WsidFilter)
    search_fields = ("snapshot_id",)
    search_help_text = "snapshot id or its beginning, or a wsid"
    drop_page, drop_list = on_page(DROP), on_list(DROP)
    set_current_page = on_page(SET_CURRENT)
    actions = ("drop_list",)
    actions_detail = ("set_current_page", "drop_page")
    fieldsets = (
        ("Snapshot", {"fields": ("snapshot_id", ("workspace_", "current"), ("disk", "created"), "made_by", "message")}),
        ("What it holds", {"fields": (("entries", "bytes"), "fs_path", "manifest_digest")}),
        ("Its end", {"fields": (("dropped_at", "dropped_by"), "missing_since")}),
    )

    def find(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By the whole id, its beginning, or the workspace."""
        if matches(SNAPSHOT_ID_PATTERN, term):
            return rows.filter(pk=term)
        if _ID_PREFIX.fullmatch(term):
            return rows.filter(pk__startswith=term)
        return rows.filter(workspace_id=term)

    def tables(self, request: HttpRequest, row: Snapshot) -> Sequence[Table]:
        """The tasks that name it."""
        named = Task.objects.of_workspace(row.workspace_id).filter(snapshot_id=row.pk)
        rows = [
            (task_link(task.task_id), task.op, status_badge(task.status), who(task.actor), moment(task.created_at))
            for task in named.order_by("-created_at", "-task_id")[:TASKS_SHOWN]
        ]
        more = list_link("tasks_task", "all", wsid=row.workspace_id, snapshot_id=row.pk)
        return [Table("Tasks that name it", ("task", "op", "status", "actor", "created (UTC)"), rows, more)]

    @admin.display(description="snapshot")
    def snapshot(self, snapshot: Snapshot) -> SafeString:
        """The id: the first column links to the page by itself."""
        return whole(snapshot.snapshot_id)

    @admin.display(description="wsid")
    def workspace_(self, snapshot: Snapshot) -> SafeString | str:
        """Its workspace, without reading the workspace."""
        return workspace_link(snapshot.workspace_id)

    @admin.display(description="disk")
    def disk(self, snapshot: Snapshot) -> SafeString:
        """What the row says of the disk."""
        if snapshot.deleted_at is not None:
            return badge("dropped")
        return badge("missing", "bad") if snapshot.orphaned_at else badge("kept", "good")

    @admin.display(description="current")
    def current(self, snapshot: Snapshot) -> str:
        """Whether its workspace points at it."""
        return "yes" if snapshot.workspace.current_snapshot_id == snapshot.pk else "no"

    @admin.display(description="message")
    def message_(self, snapshot: Snapshot) -> str:
        """Its beginning: a message may have four thousand characters."""
        return snapshot.message[:80] or NOTHING

    @admin.display(description="created (UTC)")
    def created(self, snapshot: Snapshot) -> str:
        """When its row was made."""
        return moment(snapshot.created_at)

    @admin.display(description="made by")
    def made_by(self, snapshot: Snapshot) -> SafeString | str:
        """The task that made it."""
        return task_link(snapshot.created_by)

    @admin.display(description="dropped at (UTC)")
    def dropped_at(self, snapshot: Snapshot) -> str:
        """When the drop was begun."""
        return moment(snapshot.deleted_at)

    @admin.display(description="dropped by")
    def dropped_by(self, snapshot: Snapshot) -> SafeString | str:
        """The task that dropped it, or what else."""
        return task_link(snapshot.deleted_by)

    @admin.display(description="directory missing since (UTC)")
    def missing_since(self, snapshot: Snapshot) -> str:
        """As far as is known."""
        return moment(snapshot.orphaned_at)

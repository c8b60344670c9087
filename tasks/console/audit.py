"""The audit trail in the admin: looked at, by workspace, task or action."""

from __future__ import annotations

import re
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.safestring import SafeString

from tasks.console.readonly import GivenFilter, ReadOnlyAdmin
from tasks.console.shown import moment, readable, task_link, who, workspace_link
from tasks.models import AuditEvent
from wvs_project.ids import TASK_ID_PATTERN, matches

_ACTION: Final = re.compile(r"[a-z_]{1,40}\.[a-z_]{1,40}")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


class TaskFilter(GivenFilter):
    """By task."""

    title = parameter_name = column = "task_id"


class EventWsidFilter(GivenFilter):
    """By workspace; an event holds the bare id."""

    title = parameter_name = column = "wsid"


class ActionFilter(GivenFilter):
    """By action."""

    title = parameter_name = column = "action"


class AuditEventAdmin(ReadOnlyAdmin):
    """Who did what, when."""

    keyset = "ts"
    list_display = ("event_id", "at", "action", "wsid_", "task_", "by", "request_id")
    list_filter = (EventWsidFilter, TaskFilter, ActionFilter)
    search_fields = ("event_id",)
    search_help_text = "event id, task id, action, or a wsid"
    fieldsets = (
        ("Event", {"fields": ("event_id", "at", "action", "wsid_", "task_", "by", "request_id")}),
        ("What changed", {"fields": ("payload_",)}),
    )

    def find(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By what the term looks like."""
        if matches(TASK_ID_PATTERN, term):
            return rows.filter(task_id=term)
        if _ACTION.fullmatch(term):
            return rows.filter(action=term)
        if _NUMBER.fullmatch(term):
            return rows.filter(pk=int(term))
        return rows.filter(wsid=term)

    @admin.display(description="UTC")
    def at(self, event: AuditEvent) -> str:
        """When."""
        return moment(event.ts)

    @admin.display(description="wsid")
    def wsid_(self, event: AuditEvent) -> SafeString | str:
        """Its workspace."""
        return workspace_link(event.wsid)

    @admin.display(description="task")
    def task_(self, event: AuditEvent) -> SafeString | str:
        """Its task, if it was about one."""
        return task_link(event.task_id)

    @admin.display(description="actor")
    def by(self, event: AuditEvent) -> str:
        """Who."""
        return who(event.actor)

    @admin.display(description="payload")
    def payload_(self, event: AuditEvent) -> SafeString | str:
        """Before, after, error."""
        return readable(event.payload)

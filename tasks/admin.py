"""Tasks and the audit trail in the admin (SPEC §9): looked at here; retried and canceled through the services."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.enums import ActionVariant

from tasks.console.actions import Asked, ConsoleAction, OperableAdmin, on_list, on_page, task_made
from tasks.console.audit import AuditEventAdmin
from tasks.console.readonly import GivenFilter, WsidFilter
from tasks.console.shown import (
    NOTHING,
    Table,
    list_link,
    moment,
    readable,
    seconds_between,
    snapshot_link,
    status_badge,
    task_link,
    who,
    whole,
    workspace_link,
)
from tasks.console.timeline import events_of, progress_bar, timeline
from tasks.models import AuditEvent, Task
from tasks.services import cancel_task, retry_dead_task, retry_of
from tasks.states import Status
from wvs_project.ids import SNAPSHOT_ID_PATTERN, TASK_ID_PATTERN, matches

EVENTS_SHOWN: Final = 100
"""On a task's page; the list of its events has the rest."""

_ID_PREFIX: Final = re.compile(r"task-[0-9a-f-]{1,36}")


def _retry(task: Task, asked: Asked) -> SafeString:
    write = retry_dead_task(task_id=task.task_id, actor=asked.actor, request_id=asked.request_id)
    return task_made(write, f"{task.task_id} is retried by a new task")


def _cancel(task: Task, asked: Asked) -> SafeString:
    canceled = cancel_task(task_id=task.task_id, actor=asked.actor, request_id=asked.request_id)
    became = "is canceled" if canceled.state is Status.CANCELED else "is asked to stop: a worker decides within seconds"
    return format_html("{} {}", task_link(task.task_id), became)


RETRY: Final = ConsoleAction(
    name="retry",
    label="Retry",
    question="Make a new task for what this DEAD one was to do?",
    note="The DEAD one stays as history. Today's rules hold: a snapshot is taken of what is current now.",
    perform=_retry,
    fits=lambda task: task.state is Status.DEAD,
    icon="replay",
    variant=ActionVariant.PRIMARY,
)
CANCEL: Final = ConsoleAction(
    name="cancel",
    label="Cancel",
    question="Cancel what has not begun, and ask what runs to stop?",
    perform=_cancel,
    fits=lambda task: task.state.is_live,
    icon="cancel",
    variant=ActionVariant.DANGER,
)


class SnapshotFilter(GivenFilter):
    """By snapshot; the link gives the workspace too, whose index bounds the search."""

    title = parameter_name = column = "snapshot_id"


admin.site.register(AuditEvent, AuditEventAdmin)


@admin.register(Task)
class TaskAdmin(OperableAdmin):
    """The queue and its history."""

    operate = "tasks.operate_task"
    list_display = ("task", "workspace_", "op_", "status_", "attempts", "reason", "created", "took")
    list_filter = ("status", "op", WsidFilter, SnapshotFilter)
    search_fields = ("task_id",)
    search_help_text = "task id or its beginning, or a wsid"
    retry_page, retry_list = on_page(RETRY), on_list(RETRY)
    cancel_page, cancel_list = on_page(CANCEL), on_list(CANCEL)
    actions = ("retry_list", "cancel_list")
    actions_detail = ("retry_page", "cancel_page")
    fieldsets = (
        ("Task", {"fields": (("task_id", "workspace_"), ("op_", "status_"), ("snapshot", "by"), "request_id")}),
        ("Failure", {"fields": (("code", "reason"), "message")}),
        (
            "Attempts",
            {
                "fields": (
                    ("progress_", "timeout_seconds"),
                    ("attempts", "next_run"),
                    ("retries", "retried_by"),
                    ("unknown", "stop"),
                )
            },
        ),
        ("What was asked, what came of it", {"fields": ("params_", "result_")}),
    )

    def find(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By the whole id, its beginning, or the workspace."""
        if matches(TASK_ID_PATTERN, term):
            return rows.filter(pk=term)
        if _ID_PREFIX.fullmatch(term):
            return rows.filter(pk__startswith=term)
        return rows.filter(workspace_id=term)

    def tables(self, request: HttpRequest, row: Task) -> Sequence[Table]:
        """The timeline: the row's own moments and its audit events, oldest first."""
        events = list(AuditEvent.objects.filter(task_id=row.pk).order_by("event_id")[:EVENTS_SHOWN])
        return [timeline(row, events), events_of(events, list_link("tasks_auditevent", "all", task_id=row.pk))]

    @admin.display(description="task")
    def task(self, task: Task) -> SafeString:
        """The id: the first column links to the page by itself."""
        return whole(task.task_id)

    @admin.display(description="wsid")
    def workspace_(self, task: Task) -> SafeString | str:
        """Its workspace, without reading the workspace."""
        return workspace_link(task.workspace_id)

    @admin.display(description="op")
    def op_(self, task: Task) -> str:
        """As the API has it."""
        return task.op

    @admin.display(description="status")
    def status_(self, task: Task) -> SafeString:
        """In colour."""
        return status_badge(task.status)

    @admin.display(description="tries")
    def attempts(self, task: Task) -> str:
        """Of how many."""
        return f"{task.attempt}/{task.max_attempts}"

    @admin.display(description="snapshot")
    def snapshot(self, task: Task) -> SafeString | str:
        """The snapshot it makes, drops or switches to."""
        found = task.snapshot_id
        return snapshot_link(found) if found and matches(SNAPSHOT_ID_PATTERN, found) else NOTHING

    @admin.display(description="actor")
    def by(self, task: Task) -> str:
        """Who asked for it."""
        return who(task.actor)

    @admin.display(description="error code")
    def code(self, task: Task) -> str:
        """Of the last failure."""
        return _of_error(task, "code")

    @admin.display(description="reason")
    def reason(self, task: Task) -> str:
        """The finer cause."""
        return _of_error(task, "reason")

    @admin.display(description="message")
    def message(self, task: Task) -> str:
        """In words."""
        return _of_error(task, "message")

    @admin.display(description="outcome unknown")
    def unknown(self, task: Task) -> str:
        """A worker was lost; what it did is found out before a retry."""
        return "yes: found out before it goes on" if task.outcome_unknown else "no"

    @admin.display(description="cancel requested")
    def stop(self, task: Task) -> str:
        """Whether somebody asked it to stop."""
        return "yes" if task.cancel_requested else "no"

    @admin.display(description="it retries")
    def retries(self, task: Task) -> SafeString | str:
        """The DEAD task whose wish it is."""
        return task_link(task.params.get("retries"))

    @admin.display(description="retried by")
    def retried_by(self, task: Task) -> SafeString | str:
        """The task that an operator's retry made of it."""
        retry = retry_of(task)
        return format_html("{} {}", task_link(retry.task_id), status_badge(retry.status)) if retry else NOTHING

    @admin.display(description="not before")
    def next_run(self, task: Task) -> str:
        """When its next attempt is due."""
        return moment(task.next_run_at) if task.state.is_waiting else NOTHING

    @admin.display(description="progress")
    def progress_(self, task: Task) -> SafeString | str:
        """The phase, and how many entries of how many are done."""
        return progress_bar(task.progress) if task.progress else NOTHING

    @admin.display(description="params")
    def params_(self, task: Task) -> SafeString | str:
        """What was asked for."""
        return readable(task.params)

    @admin.display(description="result")
    def result_(self, task: Task) -> SafeString | str:
        """What came of it."""
        return readable(task.result)

    @admin.display(description="accepted")
    def created(self, task: Task) -> str:
        """When it was accepted."""
        return moment(task.created_at)

    @admin.display(description="took")
    def took(self, task: Task) -> str:
        """The whole time, waiting included."""
        return seconds_between(task.created_at, task.ended_at)


def _of_error(task: Task, name: str) -> str:
    return str((task.error or {}).get(name) or NOTHING)

"""What a task's page draws: its timeline, its audit events, how far it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks.console.shown import Table, event_link, moment, readable, seconds_between, who
from tasks.models import AuditEvent, Task


def progress_bar(progress: Mapping[str, object]) -> SafeString:
    """The phase, and how many entries of how many are done."""
    done, total = progress.get("entries_done"), progress.get("entries_total")
    if not total:
        return format_html("{}: {} entries", progress.get("phase"), done or 0)
    bar = format_html('<progress value="{}" max="{}"></progress>', done or 0, total)
    return format_html("{} {}: {} of {} entries", bar, progress.get("phase"), done or 0, total)


def timeline(task: Task, events: Sequence[AuditEvent]) -> Table:
    """The row's own moments and its audit events, oldest first."""
    own = [(task.created_at, "created", who(task.actor))]
    own += [(task.started_at, f"attempt {task.attempt} started", "")] if task.started_at else []
    own += [(task.ended_at, f"ended {task.status}", "")] if task.ended_at else []
    told = [(event.ts, event.action, who(event.actor)) for event in events]
    moments = sorted(own + told, key=lambda item: item[0])
    rows = [(moment(when), seconds_between(task.created_at, when), what, by) for when, what, by in moments]
    return Table("Timeline", ("UTC", "since it was created", "what", "who"), rows)


def events_of(events: Sequence[AuditEvent], more: SafeString) -> Table:
    """The events with what they changed."""
    rows = [
        (event_link(event.event_id), moment(event.ts), event.action, who(event.actor), readable(event.payload))
        for event in events
    ]
    return Table("Audit events", ("event", "UTC", "action", "actor", "payload"), rows, more)

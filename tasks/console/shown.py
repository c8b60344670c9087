"""How the admin shows things: links between them, moments, badges, JSON, tables. Everything is escaped here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from tasks.states import Status
from wvs_project.ids import TASK_ID_PATTERN, matches

NOTHING: Final = "–"
_LINK: Final = '<a href="{}" class="text-primary-600 whitespace-nowrap dark:text-primary-500">{}</a>'
_COLOURS: Final = {
    "good": "bg-green-100 text-green-700 dark:bg-green-500/20 dark:text-green-400",
    "bad": "bg-red-100 text-red-700 dark:bg-red-500/20 dark:text-red-400",
    "late": "bg-orange-100 text-orange-700 dark:bg-orange-500/20 dark:text-orange-400",
    "busy": "bg-blue-100 text-blue-700 dark:bg-blue-500/20 dark:text-blue-400",
    "calm": "bg-base-500/8 text-base-700 dark:bg-base-500/20 dark:text-base-200",
}
_BADGE: Final = (
    '<span class="inline-block font-semibold rounded-default text-[11px] uppercase whitespace-nowrap h-6 leading-6 '
    'px-2 {}">{}</span>'
)
_MOOD_OF_STATUS: Final = {
    Status.PENDING: "calm",
    Status.RUNNING: "busy",
    Status.SUCCEEDED: "good",
    Status.FAILED: "late",
    Status.CANCELED: "calm",
    Status.DEAD: "bad",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table on a page. `more` leads to the list that holds the rest."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[object]]
    more: SafeString | str = ""
    empty: str = "none"


def link(url: str, text: object) -> SafeString:
    """A link."""
    return format_html(_LINK, url, text)


def whole(text: str) -> SafeString:
    """In one line: an id that is broken cannot be read, nor picked by a double click."""
    return format_html('<span class="whitespace-nowrap">{}</span>', text)


def task_link(task_id: str | None) -> SafeString | str:
    """To the task's page; what is no task's id is shown as it is."""
    if not task_id or not matches(TASK_ID_PATTERN, task_id):
        return task_id or NOTHING
    return link(reverse("admin:tasks_task_change", args=[task_id]), task_id)


def workspace_link(wsid: str | None) -> SafeString | str:
    """To the workspace's page."""
    return link(reverse("admin:workspaces_workspace_change", args=[wsid]), wsid) if wsid else NOTHING


def snapshot_link(snapshot_id: str | None) -> SafeString | str:
    """To the snapshot's page."""
    return link(reverse("admin:snapshots_snapshot_change", args=[snapshot_id]), snapshot_id) if snapshot_id else NOTHING


def event_link(event_id: int) -> SafeString:
    """To the audit event's page."""
    return link(reverse("admin:tasks_auditevent_change", args=[event_id]), event_id)


def order_link(order_id: int) -> SafeString:
    """To the page of an operator's order."""
    return link(reverse("admin:workspaces_order_change", args=[order_id]), f"order {order_id}")


def list_link(model: str, text: str, **filters: str) -> SafeString:
    """To a list, for example `tasks_task`, with its filters set."""
    return link(f"{reverse(f'admin:{model}_changelist')}?{urlencode(filters)}", text)


def moment(when: datetime | None) -> str:
    """UTC, to the second."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if when else NOTHING


def seconds_between(begun: datetime | None, ended: datetime | None) -> str:
    """How long, in seconds."""
    return f"{(ended - begun).total_seconds():.3f}\N{NO-BREAK SPACE}s" if begun and ended else NOTHING


def badge(text: str, mood: str = "calm") -> SafeString:
    """A word in colour: good, bad, late, busy or calm."""
    return format_html(_BADGE, _COLOURS[mood], text)


def status_badge(status: str) -> SafeString:
    """A task's status."""
    return badge(status, _MOOD_OF_STATUS[Status(status)])


def who(actor: Mapping[str, object] | None) -> str:
    """An actor as stored."""
    return f"{actor.get('type')} {actor.get('id')}" if actor else NOTHING


def readable(value: object) -> SafeString | str:
    """JSON, indented."""
    if value in (None, {}, []):
        return NOTHING
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return format_html('<pre class="overflow-x-auto text-xs">{}</pre>', text)

"""The admin's first page (SPEC §9): cards, charts and tables out of the figures, for who may see the rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from snapshots.console.charts import charts
from snapshots.console.figures import COUNTED_TO, Figures, read_figures
from tasks.backlog import DEAD_DAYS
from tasks.console.shown import NOTHING, Table, list_link, moment, status_badge, task_link, workspace_link
from tasks.models import Task
from tasks.states import FINISHED, LIVE, Status
from workspaces.states import WorkspaceState

NEEDED: Final = ("tasks.view_task", "workspaces.view_workspace", "snapshots.view_snapshot")
TOO_LONG: Final = 10.0
"""Seconds of standstill from which somebody should look."""
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@dataclass(frozen=True, slots=True)
class Card:
    """A figure, what it is, and the list behind it. `alarming`: somebody should look."""

    title: str
    value: str
    note: str
    url: str
    alarming: bool = False


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """UNFOLD's DASHBOARD_CALLBACK. Who may not see the rows gets no figures either."""
    if not request.user.has_perms(NEEDED):
        return context
    figures = read_figures()
    return context | {
        "title": "Dashboard",
        "cards": _cards(figures),
        "charts": charts(figures),
        "tables": [_frozen(figures), _last_dead(figures), _oldest_waiting(figures)],
        "summaries": [[_tasks(figures), _workspaces(figures)], [_drift(figures)]],
        "as_of": moment(figures.now),
    }


def _cards(figures: Figures) -> list[Card]:
    live, states, kept = figures.live, figures.workspaces, figures.kept
    waited = int((figures.now - figures.oldest).total_seconds()) if figures.oldest else 0
    failed, disabled = states[WorkspaceState.INIT_FAILED], states[WorkspaceState.DISABLED]
    sizes = f"{number(kept.entries)} entries, {size(kept.bytes)}" + (f", at {moment(kept.at)}" if kept.at else "")
    return [
        Card("Running", number(live.by_status[Status.RUNNING]), "tasks", _tasks_url(Status.RUNNING)),
        Card("Queue depth", number(live.due), f"due; {number(live.later)} wait for their time", _tasks_url()),
        Card(
            "Oldest waiting", f"{number(waited)} s", "since it was accepted", _tasks_url(Status.PENDING), waited > 300
        ),
        Card(
            f"DEAD, last {DEAD_DAYS} days", at_least(figures.dead), "tasks", _tasks_url(Status.DEAD), figures.dead > 0
        ),
        Card(
            "Active workspaces",
            number(states[WorkspaceState.ACTIVE]),
            f"{number(disabled)} disabled, {number(failed)} failed to initialise",
            _workspaces_url(WorkspaceState.ACTIVE),
        ),
        _standing_still(figures),
        Card("Snapshots kept", number(kept.snapshots), sizes, _snapshots_url("kept")),
        _drifted(figures),
    ]


def _standing_still(figures: Figures) -> Card:
    """How many agents do now, and for how long they did on the last day."""
    told = figures.standstills
    note = f"last day: {len(told)}, the longest {told[-1]:.1f} s" if told else "no agent did on the last day"
    too_long = any(_stood(task, figures) > TOO_LONG for task in figures.frozen)
    return Card("Agents standing still", number(len(figures.frozen)), note, _tasks_url(Status.RUNNING), too_long)


def _drifted(figures: Figures) -> Card:
    """What the last look found, and what was marked by an earlier repair."""
    found = sum(one.count for one in figures.drift.values())
    value = number(found) if figures.drift else NOTHING
    note = f"differences; {at_least(figures.missing)} rows marked missing"
    return Card("Drift", value, note, _snapshots_url("missing"), found + figures.missing > 0)


def _stood(task: Task, figures: Figures) -> float:
    """Seconds since which the task's agent stands still."""
    return (figures.now - datetime.fromisoformat(str((task.progress or {})["frozen_since"]))).total_seconds()


def _frozen(figures: Figures) -> Table:
    rows = [
        (
            workspace_link(task.workspace_id),
            task_link(task.pk),
            task.op,
            str((task.progress or {}).get("phase", "")),
            moment(figures.now - timedelta(seconds=stood)),
            f"{stood:.1f}\N{NO-BREAK SPACE}s",
        )
        for task in figures.frozen
        for stood in (_stood(task, figures),)
    ]
    return Table("Agents that stand still now", ("wsid", "task", "op", "phase", "since (UTC)", "for"), rows)


def _drift(figures: Figures) -> Table:
    rows = [(one.kind, number(one.count), moment(one.looked_at)) for one in figures.drift.values()]
    more = (
        "manage.py wvs_index and cleanup --dry-run name each"
        if any(one.count for one in figures.drift.values())
        else ""
    )
    empty = "nobody has looked yet: the scheduler does, each WVS_SWEEP_INTERVAL"
    return Table("Drift by kind", ("kind", "found", "looked at (UTC)"), rows, more, empty)


def _tasks(figures: Figures) -> Table:
    counts = {**figures.live.by_status, **figures.finished}
    rows = [
        (status_badge(status), list_link("tasks_task", number(counts[status]), status__exact=status))
        for status in (*LIVE, *FINISHED)
    ]
    return Table("Tasks by status, ever", ("status", "tasks"), rows)


def _workspaces(figures: Figures) -> Table:
    rows = [
        (state, list_link("workspaces_workspace", number(count), state__exact=state))
        for state, count in figures.workspaces.items()
    ]
    return Table("Workspaces by state", ("state", "workspaces"), rows)


def _last_dead(figures: Figures) -> Table:
    rows = [
        (task_link(task.pk), workspace_link(task.workspace_id), task.op, _reason(task), moment(task.ended_at))
        for task in figures.last_dead
    ]
    more = list_link("tasks_task", "all", status__exact=Status.DEAD)
    headers = ("task", "wsid", "op", "why", "ended (UTC)")
    return Table(f"DEAD in the last {DEAD_DAYS} days", headers, rows, more)


def _oldest_waiting(figures: Figures) -> Table:
    rows = [
        (
            task_link(task.pk),
            workspace_link(task.workspace_id),
            task.op,
            status_badge(task.status),
            moment(task.created_at),
            f"{task.attempt}; due {moment(task.next_run_at)}",
        )
        for task in figures.oldest_waiting
    ]
    return Table("Waiting for longest", ("task", "wsid", "op", "status", "accepted (UTC)", "attempts"), rows)


def _reason(task: Task) -> str:
    error = task.error or {}
    return str(error.get("reason") or error.get("code") or "")


def _tasks_url(status: str | None = None) -> str:
    return _url("tasks_task", status__exact=status) if status else _url("tasks_task")


def _workspaces_url(state: str) -> str:
    return _url("workspaces_workspace", state__exact=state)


def _snapshots_url(disk: str) -> str:
    return _url("snapshots_snapshot", disk=disk)


def _url(model: str, **filters: str) -> str:
    query = f"?{urlencode(filters)}" if filters else ""
    return reverse(f"admin:{model}_changelist") + query


def number(value: int) -> str:
    """With thin spaces between the thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def at_least(value: int) -> str:
    """A count that may have ended early."""
    return number(value) if value <= COUNTED_TO else f"more than {number(COUNTED_TO)}"


def size(count: int) -> str:
    """Bytes, as people read them."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{count} B"

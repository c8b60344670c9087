"""The admin's first page (SPEC §9): cards, charts and tables out of the figures, for who may see the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from snapshots.console.charts import charts
from snapshots.console.figures import COUNTED_TO, DEAD_DAYS, Figures, read_figures
from tasks.console.shown import Table, list_link, moment, status_badge, task_link, workspace_link
from tasks.models import Task
from tasks.states import FINISHED, LIVE, Status
from workspaces.states import WorkspaceState

NEEDED: Final = ("tasks.view_task", "workspaces.view_workspace", "snapshots.view_snapshot")
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
        "tables": [_last_dead(figures), _oldest_waiting(figures)],
        "summaries": [[_tasks(figures)], [_workspaces(figures)]],
        "as_of": moment(figures.now),
    }


def _cards(figures: Figures) -> list[Card]:
    live, states, kept = figures.live, figures.workspaces, figures.kept
    waited = int((figures.now - figures.oldest).total_seconds()) if figures.oldest else 0
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
            f"{number(states[WorkspaceState.INIT_FAILED])} failed to initialise",
            _workspaces_url(WorkspaceState.ACTIVE),
        ),
        Card(
            "Disabled workspaces",
            number(states[WorkspaceState.DISABLED]),
            "they answer, and take no writes",
            _workspaces_url(WorkspaceState.DISABLED),
        ),
        Card("Snapshots kept", number(kept.snapshots), sizes, _snapshots_url("kept")),
        Card(
            "Drift",
            at_least(figures.missing),
            "snapshots whose directory is missing",
            _snapshots_url("missing"),
            figures.missing > 0,
        ),
    ]


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

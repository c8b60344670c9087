"""The dashboard's charts, as chart.js takes them: pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from snapshots.console.figures import Figures, per_day
from tasks.models import Op
from tasks.states import Status

_GREY: Final = "#9ca3af"
_GREEN: Final = "#22c55e"
_RED: Final = "#ef4444"
_BLUE: Final = "#3b82f6"
_AMBER: Final = "#f59e0b"
_VIOLET: Final = "#8b5cf6"


@dataclass(frozen=True, slots=True)
class Chart:
    """`kind` is bar or line; `data` and `options` are JSON."""

    title: str
    kind: str
    data: str
    options: str


def charts(figures: Figures) -> list[Chart]:
    """Tasks by day and status; snapshots made and dropped; what was kept."""
    return [_tasks(figures), _snapshots(figures), _kept(figures)]


def _tasks(figures: Figures) -> Chart:
    colours = ((Status.SUCCEEDED, _GREEN), (Status.CANCELED, _GREY), (Status.DEAD, _RED))
    sets = [_bars(status.value, per_day(figures, status=status), colour) for status, colour in colours]
    return _chart("Tasks by the day they ended", "bar", figures.days, sets, {"y": _axis(stacked=True)})


def _snapshots(figures: Figures) -> Chart:
    made = per_day(figures, status=Status.SUCCEEDED, ops=[Op.SNAPSHOT_CREATE])
    dropped = per_day(figures, status=Status.SUCCEEDED, ops=[Op.SNAPSHOT_DROP])
    sets = [_bars("made", made, _BLUE), _bars("dropped", [-count for count in dropped], _AMBER)]
    return _chart("Snapshots made and dropped", "bar", figures.days, sets, {"y": _axis(stacked=True)})


def _kept(figures: Figures) -> Chart:
    noted = [figures.kept_by_day.get(day) for day in figures.days]
    sets = [
        _line("snapshots", [one.snapshots if one else None for one in noted], _BLUE, "y"),
        _line("entries", [one.entries if one else None for one in noted], _VIOLET, "y1"),
    ]
    right = {**_axis(), "position": "right", "grid": {"display": False}}
    return _chart("Snapshots kept, and their entries (right)", "line", figures.days, sets, {"y": _axis(), "y1": right})


def _chart(title: str, kind: str, days: Sequence[date], sets: list[dict[str, Any]], axes: dict[str, Any]) -> Chart:
    stacked = kind == "bar"
    ticks = {"color": _GREY, "maxTicksLimit": 8, "maxRotation": 0, "autoSkip": True}
    options = {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {
            "legend": {"align": "end", "labels": {"color": _GREY, "boxHeight": 6, "boxWidth": 6, "usePointStyle": True}}
        },
        "scales": {"x": {"stacked": stacked, "grid": {"display": False}, "ticks": ticks}, **axes},
    }
    labels = [f"{day:%d %b}" for day in days]
    return Chart(title, kind, json.dumps({"labels": labels, "datasets": sets}), json.dumps(options))


def _axis(*, stacked: bool = False) -> dict[str, Any]:
    ticks = {"color": _GREY, "precision": 0, "maxTicksLimit": 5}
    return {"stacked": stacked, "beginAtZero": True, "ticks": ticks, "grid": {"display": True}}


def _bars(label: str, values: Sequence[int], colour: str) -> dict[str, Any]:
    return {"label": label, "data": list(values), "backgroundColor": colour, "borderRadius": 2, "maxBarThickness": 14}


def _line(label: str, values: Sequence[int | None], colour: str, axis: str) -> dict[str, Any]:
    return {
        "label": label,
        "data": list(values),
        "borderColor": colour,
        "backgroundColor": colour,
        "borderWidth": 2,
        "pointRadius": 2,
        "spanGaps": True,
        "yAxisID": axis,
    }

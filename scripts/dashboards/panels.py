"""A dashboard's parts, made with Grafana's own builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef, Threshold, ThresholdsMode

_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="wvs-metrics")
_HEIGHT: Final = 8
_LOW: Final = 4


@dataclass(frozen=True)
class Query:
    """PromQL, and how its series are called: labels in `{{ }}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Stat:
    """One number. `bad_from` is where it turns red; `good_from`, for what should be high, where it turns green."""

    title: str
    expr: str
    unit: str = "short"
    bad_from: float | None = None
    good_from: float | None = None
    decimals: int | None = None


@dataclass(frozen=True)
class Graph:
    """Lines over time."""

    title: str
    unit: str
    queries: Sequence[Query]
    description: str = ""


@dataclass(frozen=True)
class Row:
    """A heading, and its panels from left to right."""

    title: str
    panels: Sequence[Stat | Graph]


@dataclass(frozen=True)
class Board:
    """A dashboard. `uid` is its address: links name it."""

    uid: str
    title: str
    rows: Sequence[Row]


def rendered(board: Board) -> str:
    """The JSON that Grafana's provisioning reads."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags(["wvs"])
        .readonly()
        .timezone("utc")
        .refresh("30s")
        .time("now-6h", "now")
        .link(dashboard.DashboardLink("WVS").type(DashboardLinkType.DASHBOARDS).tags(["wvs"]).keep_time(True))
    )
    ids = count(1)
    for row in board.rows:
        made = made.with_row(dashboard.Row(row.title).id(next(ids)))
        for panel in row.panels:
            width = 24 // len(row.panels)
            shown = _stat(panel, width) if isinstance(panel, Stat) else _graph(panel, width)
            made = made.with_panel(shown.id(next(ids)))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _stat(panel: Stat, width: int) -> stat.Panel:
    made = (
        stat.Panel()
        .title(panel.title)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .span(width)
        .height(_LOW)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(panel))
        .with_target(_target(Query(panel.expr), "A"))
    )
    return made if panel.decimals is None else made.decimals(panel.decimals)


def _thresholds(panel: Stat) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color="red" if panel.good_from is not None else "green")]
    if panel.bad_from is not None:
        steps.append(Threshold(value=panel.bad_from, color="red"))
    if panel.good_from is not None:
        steps.append(Threshold(value=panel.good_from, color="green"))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _graph(panel: Graph, width: int) -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    made = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .min(0)
        .span(width)
        .height(_HEIGHT)
        .fill_opacity(8)
        .legend(legend.show_legend(True))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for number, query in enumerate(panel.queries):
        made = made.with_target(_target(query, chr(ord("A") + number)))
    return made


def _target(query: Query, ref_id: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref_id).datasource(_SOURCE)

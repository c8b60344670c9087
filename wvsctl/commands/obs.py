"""`wvsctl obs`: what the processes count, from a monitoring system or without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import typer
from rich.console import Group, RenderableType

from wvsctl import options
from wvsctl.binding import command
from wvsctl.config import seconds_of
from wvsctl.exposition import Histogram, Metrics
from wvsctl.output import lines, record, table
from wvsctl.prometheus import ask
from wvsctl.scrape import Source, scrape
from wvsctl.session import REFUSED, Session, UsageError

app: Final = typer.Typer(name="obs", help="What the processes count.", no_args_is_help=True)

TASKS: Final = "wvs_task_total"
DEPTH: Final = "wvs_task_queue_depth"
DURATION: Final = "wvs_task_duration_seconds"
WAITED: Final = "wvs_task_wait_seconds"
QUIESCE: Final = "wvs_quiesce_wait_seconds"
FREEZE: Final = "wvs_freeze_seconds"
UNANSWERED: Final = "wvs_quiesce_timeout_total"
RETRIES: Final = "wvs_task_retry_total"
RESCUED: Final = "wvs_task_rescued_total"
DRIFT: Final = "wvs_drift_total"
HOUR: Final = "1h"
SHARED: Final = frozenset({DEPTH})
"""Gauges that are read from the database: every process that tells one tells the same, so they are not added up."""


@command(app, "summary")
def summary(
    session: Session,
    metrics_url: options.MetricsUrls = None,
    prometheus_url: options.PrometheusUrl = None,
    since: options.Since = HOUR,
) -> None:
    """How it goes: the share of tasks that succeeded, and what needs a look."""
    _show(session, _summary, (TASKS, DEPTH, RETRIES, RESCUED, UNANSWERED, DRIFT), since)


def _summary(metrics: Metrics) -> dict[str, Any]:
    return {
        "task_success_rate": success_rate(metrics),
        "tasks": metrics.by(TASKS, "status"),
        "queue_depth": metrics.total(DEPTH),
        "task_retries": metrics.total(RETRIES),
        "tasks_rescued": metrics.total(RESCUED),
        "quiesce_timeouts": metrics.total(UNANSWERED),
        "drift": metrics.total(DRIFT),
    }


def success_rate(metrics: Metrics) -> float | None:
    """SUCCEEDED of all that ended SUCCEEDED or DEAD; None while none has. A cancel is nobody's failure."""
    done, dead = (metrics.total(TASKS, status=status) or 0.0 for status in ("SUCCEEDED", "DEAD"))
    return done / (done + dead) if done + dead else None


@command(app, "latency")
def latency(
    session: Session,
    metrics_url: options.MetricsUrls = None,
    prometheus_url: options.PrometheusUrl = None,
    since: options.Since = HOUR,
) -> None:
    """How long tasks take by op, from accepted to finished, and of that how long they waited to be started."""
    _show(session, _latency, (f"{DURATION}_count", f"{WAITED}_count"), since)


def _latency(metrics: Metrics) -> dict[str, Any]:
    return {what: _by_op(metrics, name) for what, name in (("duration", DURATION), ("wait", WAITED))}


def _by_op(metrics: Metrics, name: str) -> dict[str, Any]:
    return {op: spread(metrics.histogram(name, op=op)) for op in metrics.by(f"{name}_count", "op")}


@command(app, "queue")
def queue(
    session: Session,
    metrics_url: options.MetricsUrls = None,
    prometheus_url: options.PrometheusUrl = None,
    since: options.Since = HOUR,
) -> None:
    """How many tasks wait, and how long they did."""
    _show(session, _queue, (DEPTH, f"{WAITED}_count", RETRIES), since)


def _queue(metrics: Metrics) -> dict[str, Any]:
    return {
        "queue_depth": metrics.total(DEPTH),
        "task_retries": metrics.total(RETRIES),
        "wait": spread(metrics.histogram(WAITED)),
    }


@command(app, "quiesce")
def quiesce(
    session: Session,
    metrics_url: options.MetricsUrls = None,
    prometheus_url: options.PrometheusUrl = None,
    since: options.Since = HOUR,
) -> None:
    """How long agents take to stand still, how long they stand still, and how often they did not answer."""
    _show(session, _quiesce, (f"{QUIESCE}_count", UNANSWERED, f"{FREEZE}_count"), since)


def _quiesce(metrics: Metrics) -> dict[str, Any]:
    return {
        "quiesce_wait": spread(metrics.histogram(QUIESCE)),
        "quiesce_timeouts": metrics.total(UNANSWERED),
        "standstill": spread(metrics.histogram(FREEZE)),
    }


def spread(histogram: Histogram | None) -> dict[str, float | None] | None:
    """Count, mean and quantiles, in seconds."""
    if histogram is None:
        return None
    quantiles = {f"p{share}": histogram.quantile(share / 100) for share in (50, 95, 99)}
    return {"count": histogram.count, "mean": histogram.mean, **quantiles}


def _show(session: Session, look: Callable[[Metrics], dict[str, Any]], names: tuple[str, ...], since: str) -> None:
    """What `look` finds, which of the metrics nobody exports, and who was asked. Exit(1) if one of them is silent."""
    metrics, sources = _read(session, names, since)
    found = look(metrics)
    missing = [name.removesuffix("_count") for name in names if not metrics.has(name)]
    session.output.result(found | {"missing": missing, "sources": sources}, lambda: _told(found, missing))
    silent = [source for source in sources if not source.ok]
    for source in silent:
        session.output.say(f"wvsctl: UNREACHABLE: {source.url}: {source.error}; it is not in these numbers")
    if silent:
        raise typer.Exit(REFUSED)


def _read(session: Session, names: tuple[str, ...], since: str) -> tuple[Metrics, list[Source]]:
    settings = session.settings
    if settings.prometheus_url:
        window = seconds_of(since, "--since")
        metrics, source = ask(settings.prometheus_url, names, settings.request_timeout, since=window, shared=SHARED)
        return metrics, [source]
    if not settings.metrics_urls:
        raise UsageError(
            "where are the metrics? Say --metrics-url URL, once for each process, or WVS_METRICS_URLS: "
            "by default ports 9090 (api), 9091 (worker), 9092 (executor), 9094 (scheduler); "
            "or --prometheus-url URL, or WVS_PROMETHEUS_URL"
        )
    return scrape(settings.metrics_urls, settings.request_timeout, shared=SHARED)


def _told(found: Mapping[str, Any], missing: list[str]) -> RenderableType:
    """Numbers by name, then all spreads in one table."""
    flat = dict(_flat(found))
    numbers = {name: _number(name, value) for name, value in flat.items() if not isinstance(value, dict)}
    spreads = [
        (name, *(_number(part, value) for part, value in one.items()))
        for name, one in flat.items()
        if isinstance(one, dict)
    ]
    parts: list[RenderableType] = [record(numbers)] if numbers else []
    if spreads:
        parts.append(table(("TIME", "COUNT", "MEAN", "P50", "P95", "P99"), spreads))
    if missing:
        parts.append(lines(f"not exported (yet): {', '.join(missing)}"))
    return Group(*parts)


def _flat(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is below a name gets both names; a spread stays as it is."""
    for name, value in found.items():
        if not isinstance(value, dict) or "p50" in value:
            yield name, value
        else:
            yield from ((f"{name} {key}", one) for key, one in value.items()) if value else [(name, None)]


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "n/a"
    if name == "task_success_rate":
        return f"{value:.4%}"
    seconds = name in ("mean", "p50", "p95", "p99")
    return f"{value:.3f} s" if seconds else f"{value:,.0f}"

"""Metrics pages, read and added up."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from wvsctl.exposition import Metrics, NotMetrics

pytestmark = pytest.mark.rule("SPEC §9")


def page(*seconds: float, odd: str = 'a "quoted" \\ one\nand a line') -> str:
    registry = CollectorRegistry()
    counter = Counter("wvs_task_total", "Tasks.", ["op", "status"], registry=registry)
    counter.labels(op=odd, status="SUCCEEDED").inc(3)
    counter.labels(op="set_current", status="DEAD").inc()
    Gauge("wvs_task_queue_depth", "Waiting.", registry=registry).set(1.5)
    histogram = Histogram("wvs_freeze_seconds", "Standstill.", buckets=(0.1, 1.0, 10.0), registry=registry)
    for one in seconds:
        histogram.observe(one)
    return generate_latest(registry).decode()


def test_what_prometheus_clients_write_is_read_whatever_the_labels_say() -> None:
    metrics = Metrics()
    metrics.add_page(page())
    assert metrics.by("wvs_task_total", "op") == {'a "quoted" \\ one\nand a line': 3.0, "set_current": 1.0}
    assert metrics.total("wvs_task_total", status="DEAD") == 1.0


def test_several_processes_are_added_up() -> None:
    metrics = Metrics()
    for seconds in ((0.05, 0.5), (5.0,)):
        metrics.add_page(page(*seconds))
    histogram = metrics.histogram("wvs_freeze_seconds")
    assert metrics.total("wvs_task_queue_depth") == 3.0
    assert histogram is not None
    assert histogram.count == 3.0
    assert histogram.mean == pytest.approx(1.85)
    assert dict(histogram.buckets) == {0.1: 1.0, 1.0: 2.0, 10.0: 3.0, math.inf: 3.0}


def test_one_truth_that_several_processes_tell_is_not_added_up() -> None:
    metrics = Metrics(shared=frozenset({"wvs_task_queue_depth"}))
    for depth in (3.0, 5.0, 4.0):
        metrics.add_page(f"wvs_task_queue_depth {depth}\nwvs_executor_active_tasks {depth}\n")
    assert metrics.total("wvs_task_queue_depth") == 5.0
    assert metrics.total("wvs_executor_active_tasks") == 12.0


@pytest.mark.parametrize(
    ("seconds", "share", "expected"),
    [
        ([0.5] * 10, 0.5, 0.55),  # in the middle of its bucket
        ([0.05] * 5 + [5.0] * 5, 0.5, 0.1),
        ([0.05] * 5 + [5.0] * 5, 0.9, 1.0 + 9.0 * 4 / 5),
        ([100.0], 0.99, 10.0),  # beyond the last bound nothing is known
    ],
)
def test_quantiles_are_linear_in_their_bucket(seconds: list[float], share: float, expected: float) -> None:
    metrics = Metrics()
    metrics.add_page(page(*seconds))
    histogram = metrics.histogram("wvs_freeze_seconds")
    assert histogram is not None
    assert histogram.quantile(share) == pytest.approx(expected)


def test_nothing_counted_and_nothing_exported_are_two_things() -> None:
    metrics = Metrics()
    metrics.add_page(page())
    empty = metrics.histogram("wvs_freeze_seconds")
    assert empty is not None
    assert (empty.count, empty.mean, empty.quantile(0.5)) == (0.0, None, None)
    assert metrics.histogram("wvs_nothing") is None
    assert metrics.total("wvs_nothing") is None


@pytest.mark.parametrize("text", ["<html>", "wvs_task_total{op=} 1", "wvs_task_total one", '{"json": 1}'])
def test_a_page_that_is_none_is_refused_whole(text: str) -> None:
    metrics = Metrics()
    with pytest.raises(NotMetrics):
        metrics.add_page(f"wvs_task_total 1\n{text}\n")
    assert not metrics.has("wvs_task_total")

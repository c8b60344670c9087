"""`make metrics`: every metric of docs/metrics.md with its value, from a running stack (SPEC §11).

Reads WVS_METRICS_URLS and WVS_METRICS_URL_JUICEFS*. Exit code 1 when a metric is shown by no process.
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from rich.console import Console
from rich.table import Table

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
WHERE_IT_IS_WATCHED: Final = frozenset({"wvs_executor_mount_up"})
"""Shown by executors of their own only."""
_ROW: Final = re.compile(r"^\| `(wvs_\w+)` \| (\w+) \| (.*?) \|")
_OF_THE_MOUNT: Final = (
    "juicefs_used_space",
    "juicefs_used_inodes",
    "juicefs_uptime",
    "juicefs_object_request_durations_histogram_seconds",
    "juicefs_fuse_ops_durations_histogram_seconds",
    "juicefs_transaction_durations_histogram_seconds",
)


@dataclass(frozen=True, slots=True)
class Documented:
    """One row of the page."""

    name: str
    type: str
    labels: frozenset[str]


def documented(page: str) -> list[Documented]:
    """Every metric that docs/metrics.md tells of."""
    rows = filter(None, map(_ROW.match, page.splitlines()))
    return [Documented(row[1], row[2], frozenset(re.findall(r"`(\w+)`", row[3]))) for row in rows]


def family_name(metric: Metric) -> str:
    """As it is written on the page: a counter's name has its `_total`."""
    return f"{metric.name}_total" if metric.type == "counter" else str(metric.name)


def scrape(urls: Iterable[str]) -> dict[str, list[Metric]]:
    """What all of them show, by name. Raises httpx.HTTPError."""
    found: dict[str, list[Metric]] = defaultdict(list)
    for url in urls:
        answer = httpx.get(f"{url}/metrics", trust_env=False).raise_for_status()
        for metric in text_string_to_metric_families(answer.text):
            found[family_name(metric)].append(metric)
    return found


def told(metrics: list[Metric]) -> str:
    """For people: the sum over the processes, of a histogram how many and their mean, by labels where not 0."""
    if not metrics:
        return "—"
    samples = [sample for metric in metrics for sample in metric.samples]
    if metrics[0].type == "histogram":
        counts, sums = _by_labels(samples, "_count"), _by_labels(samples, "_sum")
        return _lines({key: f"{n:g} × {sums[key] / n:.4f} s" for key, n in counts.items() if n}, "0")
    return _lines({key: f"{n:,.10g}" for key, n in _by_labels(samples, "").items() if n}, "0")


def _by_labels(samples: Iterable[Sample], suffix: str) -> dict[str, float]:
    values: dict[str, float] = defaultdict(float)
    for sample in samples:
        if sample.name.endswith(suffix) and not sample.name.endswith("_created"):
            labels = {name: text for name, text in sample.labels.items() if name not in _THE_MOUNTS_OWN}
            values[" ".join(labels.values())] += sample.value
    return values


_THE_MOUNTS_OWN: Final = frozenset({"instance", "mp", "vol_name", "juicefs_version"})


def _lines(values: Mapping[str, str], nothing: str) -> str:
    return "\n".join(f"{value}  {labels}".rstrip() for labels, value in sorted(values.items())) or nothing


def _rows(urls: list[str], of_mounts: list[str]) -> Iterator[tuple[str, str, list[Metric]]]:
    found = scrape([*urls, *of_mounts])
    for one in documented(PAGE.read_text()):
        yield one.name, one.type, found[one.name]
    if of_mounts:
        for name in _OF_THE_MOUNT:
            yield name, found[name][0].type if found[name] else "", found[name]


def main() -> int:
    """Print the table."""
    urls = os.environ.get("WVS_METRICS_URLS", "").split(",")
    of_mounts = [url for name, url in os.environ.items() if name.startswith("WVS_METRICS_URL_JUICEFS")]
    table = Table("METRIC", "TYPE", "VALUE, BY LABELS", title="every metric of docs/metrics.md", show_lines=False)
    missing = []
    for name, kind, metrics in _rows(urls, of_mounts):
        table.add_row(name, kind, told(metrics))
        if not metrics and name not in WHERE_IT_IS_WATCHED:
            missing.append(name)
    Console(highlight=False).print(table)
    if missing:
        sys.stderr.write(f"shown by no process: {', '.join(missing)}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

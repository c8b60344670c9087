"""What the processes of WVS export, by their own registries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry

from executor.metrics import ExecutorMetrics
from scripts.metrics import Documented
from snapshots import metrics as of_snapshots
from tasks.backlog import BacklogCollector
from wvs_project.http import metrics as of_requests

IMPORTED = (of_snapshots, of_requests)
"""They are in the process's registry because somebody imports them; the other apps' come with their models."""


def exported() -> list[Documented]:
    """Every metric of ours, whichever process shows it."""
    found = {one.name: one for registry in (REGISTRY, ExecutorMetrics().registry) for one in _of(registry)}
    asked = (Documented(family.name, family.type, frozenset()) for family in BacklogCollector().describe())
    return sorted([*found.values(), *asked], key=lambda one: one.name)


def _of(registry: CollectorRegistry) -> Iterable[Documented]:
    collectors: Iterable[Any] = registry._collector_to_names
    for collector in collectors:
        name = getattr(collector, "_name", "")
        if name.startswith("wvs_"):
            full = f"{name}_total" if collector._type == "counter" else name
            yield Documented(full, collector._type, frozenset(collector._labelnames))

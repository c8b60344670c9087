"""How the queue stands, asked when somebody scrapes (SPEC §11, docs/metrics.md): one truth, whoever is asked.

Only schedulers show it. It does not depend on who leads, so no change of leader makes a gap; and between two scrapes it
costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import structlog
from django.db import DatabaseError, InterfaceError, connection
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

COUNTED_TO: Final = 10_000
"""A count may go so far: the cost of a scrape does not follow the queue."""
DEAD_DAYS: Final = 7
"""What died longer ago is history: neither the metric nor the dashboard counts it."""

# One statement, and each of its questions walks an index of its own (tasks_list_pending, tasks_list_failed,
# tasks_dead_by_end): in the index's order, lest PostgreSQL take a status for common and look through the whole table.
# PENDING tasks are due from the start.
_QUEUE: Final = f"""
SELECT
    (SELECT count(*) FROM (SELECT FROM tasks WHERE status = 'PENDING'
                           ORDER BY created_at, task_id LIMIT {COUNTED_TO}) pending)
  + (SELECT count(*) FROM (SELECT FROM tasks WHERE status = 'FAILED' AND next_run_at <= clock_timestamp()
                           ORDER BY created_at, task_id LIMIT {COUNTED_TO}) failed),
    COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - LEAST(
        (SELECT created_at FROM tasks WHERE status = 'PENDING' ORDER BY created_at, task_id LIMIT 1),
        (SELECT created_at FROM tasks WHERE status = 'FAILED' ORDER BY created_at, task_id LIMIT 1)
    ))::float8, 0),
    (SELECT count(*) FROM (SELECT FROM tasks WHERE status = 'DEAD'
                           AND ended_at >= now() - interval '{DEAD_DAYS} days'
                           ORDER BY ended_at DESC LIMIT {COUNTED_TO}) dead)
"""  # noqa: S608 — our own constants

_FAMILIES: Final = {
    "wvs_task_queue_depth": "Tasks that are due and not begun.",
    "wvs_task_oldest_waiting_seconds": "How long ago the one was accepted that waits for longest.",
    "wvs_task_dead": f"DEAD tasks of the last {DEAD_DAYS} days.",
}

log = structlog.get_logger(__name__)


class BacklogCollector(Collector):
    """Asks once for each scrape. A database that is down says nothing of the queue, and nothing else is missing."""

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """What there is, without a question."""
        return (GaugeMetricFamily(name, meaning) for name, meaning in _FAMILIES.items())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """How it stands now."""
        try:
            values = _ask()
        except (DatabaseError, InterfaceError) as error:
            log.warning("backlog.unknown", error=str(error))
            return
        for (name, meaning), value in zip(_FAMILIES.items(), values, strict=True):
            yield GaugeMetricFamily(name, meaning, value)


def show_backlog(registry: CollectorRegistry) -> None:
    """Let this process show it."""
    registry.register(BacklogCollector())


def _ask() -> tuple[float, ...]:
    try:
        with connection.cursor() as cursor:
            cursor.execute(_QUEUE)
            row = cursor.fetchone()
            return tuple(map(float, row))
    finally:
        # The thread is the scrape's, and so is gone with it.
        connection.close()

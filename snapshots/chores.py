"""What the leading scheduler does for this app from time to time (SPEC §6, §9): the same code as the commands'."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.contrib.sessions.backends.db import SessionStore

from snapshots.drift import DriftKind
from snapshots.drift_counts import OF_THE_INSPECTION, OF_THE_SWEEP, note_drift
from snapshots.housekeeping import delete_unneeded_tasks
from snapshots.inspection import count_drift, drift_inspector
from snapshots.metrics import DRIFT
from snapshots.sweep import Sweeper, SweepReport
from tasks.audit import Actor
from tasks.chores import Chore, Tools
from workspaces.models import Order

log = structlog.get_logger(__name__)


class SweepChore(Chore):
    """What nobody needs goes from the disk, by the settings."""

    name = "sweep"

    def __init__(self, grace: timedelta | None = None) -> None:
        """`grace` in place of WVS_LIVE_GRACE."""
        self._grace = grace

    def run(self, tools: Tools) -> None:
        """Raises Stopped; a workspace that cannot be swept is logged and left to the next time."""
        grace = timedelta(seconds=tools.config.live_grace) if self._grace is None else self._grace
        stays: list[DriftKind] = []
        for report in Sweeper(tools, grace, actor=Actor.this_process("scheduler")).sweep_all():
            stays += _count(report)
            if report.moved or report.deleted or report.problems:
                log.info(
                    "sweep.done",
                    wsid=report.wsid,
                    moved=report.moved,
                    deleted=report.deleted,
                    problems=report.problems,
                )
        note_drift(stays, OF_THE_SWEEP)


class DriftChore(Chore):
    """Disk against rows: counted and logged, never repaired by itself."""

    name = "drift"

    def run(self, tools: Tools) -> None:
        """Raises Stopped, ExecutorFault(UNAVAILABLE)."""
        found: list[DriftKind] = []
        for report in drift_inspector(tools, Actor.this_process("scheduler")).inspect_all():
            count_drift(report)
            found += [finding.kind for finding in report.findings]
            for finding in report.findings:
                log.warning(
                    "drift.found", wsid=report.wsid, kind=finding.kind, what=finding.what, detail=finding.detail
                )
        note_drift(found, OF_THE_INSPECTION)


class RetentionChore(Chore):
    """Finished tasks and orders go after WVS_TASK_RETENTION, logins of the admin when they are over."""

    name = "retention"

    def run(self, tools: Tools) -> None:
        """Raises Stopped."""
        SessionStore.clear_expired()
        for deleted in delete_unneeded_tasks(retention=tools.config.task_retention):
            log.info("tasks.forgotten", tasks=deleted)
            tools.stop.check()
        Order.objects.ended_before(tools.config.task_retention).delete()


def _count(report: SweepReport) -> list[DriftKind]:
    """What should not be there and yet stays: counted for the metric, and told."""
    stays = [verdict.drift for verdict in report.verdicts if verdict.drift is not None]
    for kind in stays:
        DRIFT.labels(kind=kind.value).inc()
    return stays

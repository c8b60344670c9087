"""Looks for differences between disk and rows, and repairs what can be repaired (SPEC §9): the shell around `index`.

Many workspaces at a time without any lock; where something differs, that workspace once more under RUN, since a task in
flight looks like drift to whoever does not wait for it. Only what is found then is reported, counted or repaired.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

import structlog
from django.db import DataError, IntegrityError, transaction

from executor.contract import ExecutorFault, FaultReason
from executor.upkeep import Inventory
from snapshots.index import Finding, compare
from snapshots.metrics import DRIFT
from snapshots.repair import repair, repairable
from snapshots.rows import Found, one_moment, read_rows
from tasks.audit import Actor
from tasks.chores import Tools
from tasks.locks import hold_state
from tasks.upkeep import at_rest
from workspaces.models import Workspace
from wvs_project.errors import WvsError

BATCH: Final = 50
"""Workspaces whose rows are read by the same statements."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What came out for one workspace. All findings were seen while it was at rest."""

    wsid: str
    findings: tuple[Finding, ...] = ()
    """What differs; after a repair: what still does."""
    repaired: tuple[Finding, ...] = ()
    busy: bool = False
    """Something looked different, but a task ran: nothing is known."""
    problems: tuple[str, ...] = ()
    """Why it could not be looked at, or repaired."""

    @property
    def is_clean(self) -> bool:
        """Nothing differs, as far as anybody can know."""
        return not (self.findings or self.busy or self.problems)


@dataclass(frozen=True, slots=True)
class Inspector:
    """Inspects by these rules. `fix`: repair; `adopt`: also what tasks left that ended CANCELED or DEAD."""

    tools: Tools
    actor: Actor
    fix: bool = False
    adopt: bool = False

    def inspect_all(self, wsids: Sequence[str] | None = None) -> Iterator[IndexReport]:
        """One report for each workspace of the volume and of the rows, or for those that are named; sorted.

        Those that are busy come once more at the end. Raises Stopped, ExecutorFault(UNAVAILABLE), and what PostgreSQL
        raises when it does not answer.
        """
        chosen = self.everywhere() if wsids is None else sorted(set(wsids))
        busy: list[str] = []
        for batch in _batches(chosen):
            for report in self._inspect(batch):
                if report.busy:
                    busy.append(report.wsid)
                else:
                    yield report
        for wsid in busy:
            yield self._closely(wsid)

    def everywhere(self) -> list[str]:
        """Every wsid that the volume or a row knows. The volume first: a directory is never older than its row."""
        on_disk = self.tools.upkeep.workspaces()
        return sorted({*on_disk, *Workspace.objects.values_list("pk", flat=True)})

    def _inspect(self, wsids: Sequence[str]) -> Iterator[IndexReport]:
        found: dict[str, Inventory | None] = {}
        for wsid in wsids:
            self.tools.stop.check()
            try:
                found[wsid] = self._look(wsid)
            except ExecutorFault as fault:
                yield _unseen(wsid, fault)
        with one_moment():
            rows = read_rows(found)
        for wsid, inventory in found.items():
            self.tools.stop.check()
            yield self._closely(wsid) if compare(rows[wsid], inventory) else IndexReport(wsid)

    def _look(self, wsid: str) -> Inventory | None:
        return self.tools.upkeep.inventory(wsid, descriptors=True)

    def _closely(self, wsid: str) -> IndexReport:
        """Under RUN, and the rows under STATE: what differs now differs, and nobody is about to set it right."""
        with at_rest(wsid, self.tools.guards) as rest:
            if rest is None:
                return IndexReport(wsid, busy=True)
            try:
                report = self._decide(wsid, self._look(wsid))
            except ExecutorFault as fault:
                return _unseen(wsid, fault)
            except WvsError:
                return IndexReport(wsid, busy=True)  # somebody held STATE for as long as we may wait
            except (IntegrityError, DataError) as error:
                log.warning("index.refused", wsid=wsid, error=str(error))
                return IndexReport(wsid, problems=(f"the tables refuse the repair: {error}",))
        count_drift((*report.findings, *report.repaired))
        return report

    @transaction.atomic
    def _decide(self, wsid: str, inventory: Inventory | None) -> IndexReport:
        hold_state(wsid)
        found: Found = {wsid: inventory}
        rows = read_rows(found)[wsid]
        findings = compare(rows, inventory)
        mine = repairable(findings, adopt=self.adopt) if self.fix else []
        repair(mine, rows, inventory, actor=self.actor)
        left = tuple(finding for finding in findings if finding not in mine)
        return IndexReport(wsid, left, repaired=tuple(mine))


def count_drift(findings: Iterable[Finding]) -> None:
    """For the metric."""
    for finding in findings:
        DRIFT.labels(kind=finding.kind.value).inc()


def _unseen(wsid: str, fault: ExecutorFault) -> IndexReport:
    """One workspace's trouble; a volume that does not answer is everybody's and raised."""
    if fault.reason is FaultReason.UNAVAILABLE:
        raise fault
    return IndexReport(wsid, problems=(f"{fault.reason}: {fault.message}",))


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch

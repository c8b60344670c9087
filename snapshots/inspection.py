"""Looks for differences between disk and rows, many workspaces at a time (SPEC §9): the shell around `index`.

First without any lock; where something differs, that workspace once more under RUN, since a task in flight looks like
drift to whoever does not wait for it. Only what is found then is reported, counted or repaired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, Generic, TypeAlias, TypeVar

import structlog
from django.db import DataError, IntegrityError, transaction

from executor.contract import ExecutorFault, FaultReason
from executor.upkeep import Inventory
from snapshots.index import Finding, WorkspaceRows, compare
from snapshots.metrics import DRIFT
from snapshots.repair import repair, repairable
from snapshots.rows import one_moment, read_rows
from tasks.audit import Actor
from tasks.chores import Tools
from tasks.locks import hold_state
from tasks.upkeep import at_rest
from workspaces.models import Workspace
from wvs_project.errors import WvsError

BATCH: Final = 50
"""Workspaces whose rows are read by the same statements."""

T = TypeVar("T")
Judge: TypeAlias = Callable[[WorkspaceRows, Inventory | None], list[T]]
Repairer: TypeAlias = Callable[[list[T], WorkspaceRows, Inventory | None], list[T]]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Report(Generic[T]):
    """What came out for one workspace. All findings were seen while it was at rest."""

    wsid: str
    findings: tuple[T, ...] = ()
    """What differs; after a repair: what still does."""
    repaired: tuple[T, ...] = ()
    busy: bool = False
    """Something looked different, but a task ran: nothing is known."""
    problems: tuple[str, ...] = ()
    """Why it could not be looked at, or repaired."""


def nothing(findings: list[T], rows: WorkspaceRows, found: Inventory | None) -> list[T]:
    """The repairer of those who only look."""
    return []


@dataclass(frozen=True, slots=True)
class Inspector(Generic[T]):
    """`judge` says what differs. `repairer` writes what makes some of it go away, and says which: in a transaction,
    under RUN and STATE.
    """

    tools: Tools
    judge: Judge[T]
    repairer: Repairer[T] = nothing

    def inspect_all(self, wsids: Sequence[str] | None = None) -> Iterator[Report[T]]:
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

    def _inspect(self, wsids: Sequence[str]) -> Iterator[Report[T]]:
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
            yield self._closely(wsid) if self.judge(rows[wsid], inventory) else Report(wsid)

    def _look(self, wsid: str) -> Inventory | None:
        return self.tools.upkeep.inventory(wsid, descriptors=True)

    def _closely(self, wsid: str) -> Report[T]:
        """Under RUN, and the rows under STATE: what differs now differs, and nobody is about to set it right."""
        with at_rest(wsid, self.tools.guards) as rest:
            if rest is None:
                return Report(wsid, busy=True)
            try:
                return self._decide(wsid, self._look(wsid))
            except ExecutorFault as fault:
                return _unseen(wsid, fault)
            except WvsError:
                return Report(wsid, busy=True)  # somebody held STATE for as long as we may wait
            except (IntegrityError, DataError) as error:
                log.warning("index.refused", wsid=wsid, error=str(error))
                return Report(wsid, problems=(f"the tables refuse the repair: {error}",))

    @transaction.atomic
    def _decide(self, wsid: str, inventory: Inventory | None) -> Report[T]:
        hold_state(wsid)
        rows = read_rows({wsid: inventory})[wsid]
        findings = self.judge(rows, inventory)
        repaired = self.repairer(findings, rows, inventory)
        return Report(wsid, tuple(one for one in findings if one not in repaired), repaired=tuple(repaired))


def drift_inspector(tools: Tools, actor: Actor, *, fix: bool = False, adopt: bool = False) -> Inspector[Finding]:
    """What `wvs_index` looks with. `fix`: repair; `adopt`: also what tasks left that ended CANCELED or DEAD."""
    return Inspector(tools, compare, partial(_fix, actor=actor, adopt=adopt) if fix else nothing)


def _fix(
    findings: list[Finding], rows: WorkspaceRows, found: Inventory | None, *, actor: Actor, adopt: bool
) -> list[Finding]:
    mine = repairable(findings, adopt=adopt)
    repair(mine, rows, found, actor=actor)
    return mine


def count_drift(report: Report[Finding]) -> None:
    """For the metric, once for each report."""
    for finding in (*report.findings, *report.repaired):
        DRIFT.labels(kind=finding.kind.value).inc()


def _unseen(wsid: str, fault: ExecutorFault) -> Report[T]:
    """One workspace's trouble; a volume that does not answer is everybody's and raised."""
    if fault.reason is FaultReason.UNAVAILABLE:
        raise fault
    return Report(wsid, problems=(f"{fault.reason}: {fault.message}",))


def _batches(items: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch

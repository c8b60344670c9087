"""The sweep (SPEC §6, §7, §9; RK-04, G20): what nobody needs any more goes from the disk.

Workspace by workspace: look without any lock; only where something is to go, take RUN, look again, move it to staging
(a few renames), let go, and delete it then. Tasks of that workspace wait for the renames and for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog
from django.db import transaction

from executor.contract import ExecutorFault
from executor.upkeep import Inventory, SweepRequest, Swept
from snapshots.ledger import known_of
from snapshots.leftovers import Kind, Known, Verdict, judge, to_be_scanned
from tasks.audit import Actor, record
from tasks.chores import Tools
from tasks.upkeep import Rest, at_rest

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What became of one workspace's leftovers."""

    wsid: str
    verdicts: tuple[Verdict, ...] = ()
    moved: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """What should have gone and did not, with the reason."""
    busy: bool = False
    """Something was to go, but a task ran: the next sweep takes it."""


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Sweeps by these rules. `grace`: how long a live tree stays after it was switched away from."""

    tools: Tools
    grace: timedelta
    actor: Actor
    dry_run: bool = False

    def sweep_all(self, wsids: list[str] | None = None) -> Iterator[SweepReport]:
        """One report for each workspace of the volume, or for those that are named. Raises Stopped, ExecutorFault."""
        for wsid in self.tools.upkeep.workspaces() if wsids is None else wsids:
            self.tools.stop.check()
            yield self.sweep(wsid)

    def sweep(self, wsid: str) -> SweepReport:
        """One workspace. A fault of its disk is its own problem, not the next one's. Raises Stopped."""
        try:
            return self._sweep(wsid)
        except ExecutorFault as fault:
            log.warning("sweep.failed", wsid=wsid, reason=fault.reason, error=fault.message)
            return SweepReport(wsid, problems=(f"{fault.reason}: {fault.message}",))

    def _sweep(self, wsid: str) -> SweepReport:
        found = self.tools.upkeep.inventory(wsid, descriptors=False)
        if found is None:
            return SweepReport(wsid)
        known = known_of(wsid, found)
        written = self._scan(found, known)
        verdicts = self._judge(found, known, written, resting=False)
        if self.dry_run:
            return SweepReport(wsid, tuple(self._judge(found, known, written, resting=self._is_at_rest(wsid))))
        if _needs_rest(found, verdicts):
            report = self._sweep_at_rest(wsid, written)
            if report is not None:
                return report
        # Staging of fences below the highest is dead, whoever works now.
        busy = _needs_rest(found, verdicts)
        return self._purged(SweepReport(wsid, tuple(verdicts), busy=busy), fence=found.fence - 1)

    def _sweep_at_rest(self, wsid: str, written: dict[str, datetime]) -> SweepReport | None:
        """None: a task runs."""
        with at_rest(wsid, self.tools.guards) as rest:
            if rest is None:
                return None
            found = self.tools.upkeep.inventory(wsid, descriptors=False)
            if found is None:
                return SweepReport(wsid)
            verdicts = self._judge(found, known_of(wsid, found), written, resting=True)
            swept = self._move(rest, verdicts)
        report = SweepReport(
            wsid,
            tuple(verdicts),
            moved=(*swept.moved, *(("control.json",) if swept.thawed else ())),
            problems=tuple(f"{name}: {why}" for name, why in swept.kept.items()),
        )
        return self._purged(report, fence=rest.fence)

    def _move(self, rest: Rest, verdicts: list[Verdict]) -> Swept:
        """To staging, said in the audit trail before it happens."""
        going = {kind: tuple(v.name for v in verdicts if v.goes and v.kind is kind) for kind in Kind}
        request = SweepRequest(
            wsid=rest.wsid,
            fence=rest.fence,
            live=going[Kind.LIVE],
            snapshots=going[Kind.SNAPSHOT],
            thaw=bool(going[Kind.FREEZE]),
        )
        if request.live or request.snapshots or request.thaw:
            with transaction.atomic():
                why = {f"{v.kind}/{v.name}": v.why for v in verdicts if v.goes and v.kind is not Kind.STAGING}
                record(action="sweep.leftovers", wsid=rest.wsid, actor=self.actor, after={"goes": why})
        return self.tools.upkeep.sweep(request, stop=self.tools.stop)

    def _purged(self, report: SweepReport, *, fence: int) -> SweepReport:
        """Delete dead staging, what was just moved there included."""
        if fence < 1 or not any(verdict.goes for verdict in report.verdicts):
            return report
        purged = self.tools.upkeep.purge(report.wsid, fence=fence, stop=self.tools.stop)
        left = tuple(f"staging/{name}: {why}" for name, why in purged.left.items())
        return replace(report, deleted=purged.deleted, problems=report.problems + left)

    def _judge(self, found: Inventory, known: Known, written: dict[str, datetime], *, resting: bool) -> list[Verdict]:
        return judge(found, known, at_rest=resting, now=_now(), grace=self.grace, last_written=written)

    def _scan(self, found: Inventory, known: Known) -> dict[str, datetime]:
        """Without any lock, since it takes its time; who writes to a tree that is about to go is not in our hands."""
        upkeep, stop = self.tools.upkeep, self.tools.stop
        names = to_be_scanned(found, known, now=_now(), grace=self.grace)
        return {name: upkeep.last_written(found.wsid, name, stop=stop) for name in names}

    def _is_at_rest(self, wsid: str) -> bool:
        with at_rest(wsid, self.tools.guards) as rest:
            return rest is not None


def _needs_rest(found: Inventory, verdicts: list[Verdict]) -> bool:
    """Whether something goes, or may go, that must not be touched while an attempt is at work."""
    if found.freeze_asked or any(v.goes and v.kind is not Kind.STAGING for v in verdicts):
        return True
    return any(not v.goes and v.drift is None for v in verdicts if v.kind is Kind.STAGING)


def _now() -> datetime:
    return datetime.now(UTC)

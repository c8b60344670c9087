"""The trees of workspaces that have been disabled for long (SPEC §9: `cleanup --purge-disabled`).

Rows first, disk after, both under RUN: a crash between them leaves a disabled workspace that names no tree, and
directories that the next purge takes. Enabled again, such a workspace is INIT_FAILED: retry-init gives it a first tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import transaction

from executor.contract import ExecutorFault
from executor.upkeep import Inventory, SweepRequest
from snapshots.leftovers import Kind, Verdict
from snapshots.models import Snapshot
from snapshots.sweep import SweepReport
from tasks.audit import Actor, record
from tasks.chores import Tools
from tasks.locks import hold_state
from tasks.upkeep import at_rest
from workspaces.models import Workspace


@dataclass(frozen=True, slots=True)
class Purge:
    """Purges workspaces that were disabled, or changed last, more than `disabled_for` seconds ago."""

    tools: Tools
    disabled_for: float
    actor: Actor
    dry_run: bool = False

    def purge_all(self, wsids: list[str] | None = None) -> Iterator[SweepReport]:
        """One report for each that has something on disk, of all or of those that are named. Raises Stopped."""
        chosen = Workspace.objects.disabled_before(self.disabled_for)
        if wsids is not None:
            chosen = chosen.filter(pk__in=wsids)
        for wsid in list(chosen.order_by("pk").values_list("pk", flat=True)):
            self.tools.stop.check()
            try:
                report = self._purge(wsid)
            except ExecutorFault as fault:
                report = SweepReport(wsid, problems=(f"{fault.reason}: {fault.message}",))
            if report is not None:
                yield report

    def _purge(self, wsid: str) -> SweepReport | None:
        found = self.tools.upkeep.inventory(wsid, descriptors=False)
        if found is None or not (found.live or found.snapshots or found.current):
            return None
        verdicts = tuple(_verdicts(found))
        if self.dry_run:
            return SweepReport(wsid, verdicts)
        with at_rest(wsid, self.tools.guards) as rest:
            if rest is None or not self._forget(wsid, found):
                return SweepReport(wsid, verdicts, busy=True)
            request = SweepRequest(wsid=wsid, fence=rest.fence, everything=True)
            swept = self.tools.upkeep.sweep(request, stop=self.tools.stop)
        purged = self.tools.upkeep.purge(wsid, fence=rest.fence, stop=self.tools.stop)
        problems = [f"{name}: {why}" for name, why in {**swept.kept, **purged.left}.items()]
        return SweepReport(wsid, verdicts, moved=swept.moved, deleted=purged.deleted, problems=tuple(problems))

    @transaction.atomic
    def _forget(self, wsid: str, found: Inventory) -> bool:
        """The rows name no tree any more, and say so in the audit trail. False if it was enabled meanwhile."""
        hold_state(wsid)
        workspace = Workspace.objects.disabled_before(self.disabled_for).filter(pk=wsid).first()
        if workspace is None:
            return False
        before = {"current_path": workspace.current_path, "state_before_disable": workspace.state_before_disable}
        workspace.forget_trees()
        dropped = Snapshot.objects.of_workspace(wsid).mark_purged()
        record(
            action="sweep.purge_disabled",
            wsid=wsid,
            actor=self.actor,
            before=before,
            after={"live": list(found.live), "snapshots": dropped},
        )
        return True


def _verdicts(found: Inventory) -> Iterator[Verdict]:
    why = "its workspace has been disabled for long"
    for name in found.live:
        yield Verdict(Kind.LIVE, name, goes=True, why=why)
    for item in found.snapshots:
        yield Verdict(Kind.SNAPSHOT, item.name, goes=True, why=why)

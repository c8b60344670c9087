"""What `wvs_index --fix` writes (SPEC §9): the rows follow the disk, never the other way round.

Repeatable: what is written makes the finding go away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from executor.upkeep import Inventory, SnapshotOnDisk
from snapshots.index import Finding, Repair, WorkspaceRows, moment_of, named_snapshot
from snapshots.models import Snapshot
from tasks.audit import Actor, record
from tasks.settlement import storable
from workspaces.models import Workspace

ACTION: Final = "index.fix"
Said = dict[str, object]


def repairable(findings: Sequence[Finding], *, adopt: bool) -> list[Finding]:
    """Those that `repair` repairs. `adopt`: also snapshots of tasks that ended CANCELED or DEAD."""
    return [finding for finding in findings if finding.repair and (adopt or finding.repair is not Repair.ADOPT)]


def repair(findings: Sequence[Finding], rows: WorkspaceRows, found: Inventory | None, *, actor: Actor) -> None:
    """Write what the repairs of these findings say, all of one workspace, and one audit row with before and after.

    The caller holds RUN and STATE, is in a transaction, and has compared `rows` and `found` under them. Raises
    IntegrityError or DataError if the tables refuse it: then nothing of it may stand.
    """
    if not findings:
        return
    before: Said = {}
    after: Said = {}
    _insert(_of(findings, Repair.INSERT_ROW, Repair.ADOPT), rows, found, before, after)
    _orphans(findings, before, after)
    if found is not None and found.current is not None and _of(findings, Repair.POINT):
        _point(rows, found.current.removeprefix("live/"), before, after)
    record(action=ACTION, wsid=rows.wsid, actor=actor, before=before, after=after)


def _of(findings: Sequence[Finding], *repairs: Repair) -> list[str]:
    return [finding.what for finding in findings if finding.repair in repairs]


def _insert(
    snapshot_ids: Sequence[str], rows: WorkspaceRows, found: Inventory | None, before: Said, after: Said
) -> None:
    on_disk = {item.name: item for item in found.snapshots} if found else {}
    workspace = Workspace(wsid=rows.wsid, root_path=rows.root_path)
    fresh = [_row_of(on_disk[snapshot_id], workspace) for snapshot_id in snapshot_ids]
    Snapshot.objects.bulk_create(fresh)
    for row in fresh:
        before[row.snapshot_id] = None
        after[row.snapshot_id] = {"created_by": row.created_by, "created_at": row.created_at.isoformat()}


def _row_of(item: SnapshotOnDisk, workspace: Workspace) -> Snapshot:
    assert item.facts is not None
    moment = moment_of(item.facts)
    assert moment is not None
    return Snapshot(
        snapshot_id=item.name,
        workspace=workspace,
        fs_path=workspace.snapshot_path(item.name),
        message=cast(str, storable(item.facts.message)),
        entries=item.facts.entries,
        bytes=item.facts.bytes,
        manifest_digest=item.facts.manifest_digest,
        created_by=item.facts.task_id,
        created_at=moment,
    )


def _orphans(findings: Sequence[Finding], before: Said, after: Said) -> None:
    lost, again = _of(findings, Repair.MARK_ORPHANED), _of(findings, Repair.CLEAR_ORPHANED)
    if lost:
        Snapshot.objects.filter(pk__in=lost).mark_orphaned()
    if again:
        Snapshot.objects.filter(pk__in=again).clear_orphaned()
    for names, orphaned in ((lost, True), (again, False)):
        before.update({name: {"orphaned": not orphaned} for name in names})
        after.update({name: {"orphaned": orphaned} for name in names})


def _point(rows: WorkspaceRows, live_id: str, before: Said, after: Said) -> None:
    workspace = Workspace.objects.get(pk=rows.wsid)
    before["current"] = _pointer(workspace)
    named = named_snapshot(rows, live_id)
    is_kept = Snapshot.objects.of_workspace(rows.wsid).kept().filter(pk=named).exists()
    workspace.point_at(snapshot_id=named if is_kept else None, path=workspace.live_path(live_id))
    after["current"] = _pointer(workspace)


def _pointer(workspace: Workspace) -> Said:
    return {"current_path": workspace.current_path, "current_snapshot_id": workspace.current_snapshot_id}

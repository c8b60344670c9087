"""A volume in memory at the port that `wvs_index`, the checker of invariants and the sweep see (executor/upkeep.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from executor.contract import ExecutorFault, StopSignal
from executor.upkeep import (
    AgentSeen,
    Detached,
    DetachOutcome,
    Inventory,
    Purged,
    SnapshotFacts,
    SnapshotOnDisk,
    SweepRequest,
    Swept,
)
from snapshots.models import Snapshot
from workspaces.models import Workspace
from wvs_project.ids import new_task_id

MADE_AT = "2026-05-04T12:00:00.000000Z"


def facts(task_id: str | None = None, **fields: object) -> SnapshotFacts:
    """What a complete snapshot's descriptor says; as `make_snapshot` says it in a row."""
    values: dict[str, object] = {
        "fence": 1,
        "created_at": MADE_AT,
        "message": "a message",
        "entries": 3,
        "bytes": 1024,
        "source_live_id": "initial",
        "manifest_digest": "sha256:" + "0" * 64,
        "clone_driver": "copy",
    }
    return SnapshotFacts(task_id=task_id or new_task_id(), **(values | fields))  # type: ignore[arg-type]


def empty(wsid: str) -> Inventory:
    """A workspace as init_workspace leaves it."""
    return Inventory(
        wsid=wsid, fence=1, current="live/initial", live=("initial",), snapshots=(), staging=(), freeze_asked=False
    )


class FakeUpkeep:
    """`disk` holds what lies there, by wsid; `faults` what looking at a workspace raises.

    `on_look` is called after each look at a workspace, with its wsid: what happens before the answer is read.
    """

    def __init__(self) -> None:
        self.disk: dict[str, Inventory] = {}
        self.faults: dict[str, ExecutorFault] = {}
        self.on_look: Callable[[str], None] = lambda wsid: None
        self.looked_at: list[str] = []

    def has(self, workspace: Workspace) -> Workspace:
        """The workspace lies on disk, as its row says."""
        path = workspace.current_path or ""
        live_id = path.rpartition("/")[2]
        self.disk[workspace.wsid] = replace(empty(workspace.wsid), current=f"live/{live_id}", live=(live_id,))
        return workspace

    def has_snapshot(self, snapshot: Snapshot, **fields: object) -> SnapshotOnDisk:
        """So does the snapshot; `fields` are what its descriptor says otherwise."""
        return self.puts(snapshot.workspace_id, snapshot.snapshot_id, facts(snapshot.created_by, **fields))

    def puts(self, wsid: str, name: str, content: SnapshotFacts | None) -> SnapshotOnDisk:
        """Something below snapshots/."""
        found = self.disk[wsid]
        item = SnapshotOnDisk(name, content)
        self.disk[wsid] = replace(found, snapshots=tuple(sorted((*found.snapshots, item), key=lambda one: one.name)))
        return item

    def changes(self, wsid: str, **fields: object) -> None:
        """Whatever else lies there otherwise."""
        self.disk[wsid] = replace(self.disk[wsid], **fields)  # type: ignore[arg-type]

    # — the port —

    def workspaces(self) -> list[str]:
        return sorted(self.disk)

    def inventory(self, wsid: str, *, descriptors: bool) -> Inventory | None:
        self.looked_at.append(wsid)
        found = self.disk.get(wsid)
        self.on_look(wsid)
        if wsid in self.faults:
            raise self.faults[wsid]
        if found is None or descriptors:
            return found
        return replace(found, snapshots=tuple(SnapshotOnDisk(item.name) for item in found.snapshots))

    def last_written(self, wsid: str, live_id: str, *, stop: StopSignal) -> datetime:
        return datetime.now(UTC)

    def sweep(self, request: SweepRequest, *, stop: StopSignal) -> Swept:
        found = self.disk[request.wsid]
        gone = {*request.live} - {(found.current or "").removeprefix("live/")}
        self.changes(
            request.wsid,
            fence=max(found.fence, request.fence),
            live=tuple(name for name in found.live if name not in gone),
            snapshots=tuple(item for item in found.snapshots if item.name not in request.snapshots),
        )
        moved = (*(f"live/{name}" for name in sorted(gone)), *(f"snapshots/{name}" for name in request.snapshots))
        return Swept(moved=moved)

    def purge(self, wsid: str, *, fence: int, stop: StopSignal) -> Purged:
        return Purged()

    def agent(self, wsid: str) -> AgentSeen | None:
        return AgentSeen(attached=False) if wsid in self.disk else None

    def detach(self, wsid: str, *, fence: int, stop: StopSignal) -> Detached:
        return Detached(DetachOutcome.NOBODY, "")

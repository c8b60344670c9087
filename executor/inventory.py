"""What lies on disk of a workspace, without taking its lock (SPEC §7): for the sweeper and `wvs_index`.

What an agent can plant is not followed, and does not hide the rest: it is named in `strange` (G16).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from executor import contract, descriptor, fence, switch, tree
from executor.contract import ExecutorFault, FaultReason, StopSignal
from executor.faults import UNSAFE
from executor.layout import OURS, Layout, WorkspaceLayout
from executor.tree import Node
from executor.upkeep import Inventory, SnapshotFacts, SnapshotOnDisk
from wvs_agent import protocol
from wvs_agent.protocol import ControlState, UnsafeFileError

T = TypeVar("T")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SCANS: Final = 3
"""How often a tree is scanned in which things vanish meanwhile, before it is said to be written to right now."""


def workspaces(layout: Layout) -> list[str]:
    """See upkeep.Upkeep."""
    names = filter(lambda name: contract.matches(contract.WSID_PATTERN, name), os.listdir(layout.mount))  # noqa: PTH208
    return sorted(name for name in names if _is_workspace(layout.workspace(name)))


def _is_workspace(ws: WorkspaceLayout) -> bool:
    try:
        return tree.is_real_directory(ws.root) and tree.is_real_directory(ws.wvs)
    except PermissionError:
        return False  # somebody else's directory, closed to us: it must not hide the workspaces beside it


def take(ws: WorkspaceLayout, *, descriptors: bool) -> Inventory | None:
    """See upkeep.Upkeep.inventory."""
    if not _is_workspace(ws):
        return None
    strange = [protocol.printable(name) for name in _names(ws, b"") if name not in OURS]

    def known(name: str, otherwise: T, read: Callable[[], T]) -> T:
        """What lies in a place of ours; if something else lies there, that is strange; nothing is `otherwise` too."""
        try:
            return read()
        except FileNotFoundError:
            return otherwise
        except (UnsafeFileError, ExecutorFault, OSError) as error:
            if not _is_planted(error):
                raise
        strange.append(name)
        return otherwise

    highest = known(".wvs/fence", 0, lambda: fence.read_fence(ws))
    current = known("current", None, lambda: switch.read_current(ws))
    live, snapshots, staging = (
        known(place, list[str](), partial(_names, ws, place.encode()))
        for place in ("live", "snapshots", ".wvs/staging")
    )
    return Inventory(
        wsid=ws.wsid,
        fence=highest,
        current=None if current is None else protocol.printable(current),
        live=_said(live),
        snapshots=tuple(_snapshot(ws, name, read=descriptors) for name in snapshots),
        staging=_said(staging),
        freeze_asked=known(protocol.CONTROL_FILE, False, lambda: _freeze_asked(ws)),
        strange=tuple(sorted(strange)),
    )


def _is_planted(error: Exception) -> bool:
    if isinstance(error, ExecutorFault):
        return error.reason is FaultReason.UNSAFE_PATH
    return isinstance(error, UnsafeFileError) or (isinstance(error, OSError) and error.errno in UNSAFE)


def _names(ws: WorkspaceLayout, path: bytes) -> list[str]:
    """What a directory of the workspace holds, sorted. Raises OSError; a symlink on the way is not followed."""
    with tree.open_root(ws.root) as root, tree.open_directory(root, path) as directory:
        return sorted(os.listdir(directory))  # noqa: PTH208 — of a descriptor


def _said(names: list[str]) -> tuple[str, ...]:
    """Names as text that a log and a database accept. An id stays what it is, and nothing else becomes one."""
    return tuple(sorted(map(protocol.printable, names)))


def _freeze_asked(ws: WorkspaceLayout) -> bool:
    control = protocol.read_control(ws.control)
    return control is not None and control.state is ControlState.REQUEST_FREEZE


def _snapshot(ws: WorkspaceLayout, name: str, *, read: bool) -> SnapshotOnDisk:
    if not read or not contract.matches(contract.SNAPSHOT_ID_PATTERN, name):
        return SnapshotOnDisk(protocol.printable(name))
    found = descriptor.read(ws.snapshot(name), wsid=ws.wsid, snapshot_id=name)
    if found is None:
        return SnapshotOnDisk(name)
    facts = SnapshotFacts(
        task_id=found.task_id,
        fence=found.fence,
        created_at=found.created_at,
        message=found.message,
        entries=found.entries,
        bytes=found.bytes,
        source_live_id=found.source_live_id,
        manifest_digest=found.manifest_digest,
        clone_driver=found.clone_driver,
    )
    return SnapshotOnDisk(name, facts)


def last_written(ws: WorkspaceLayout, live_id: str, stop: StopSignal) -> datetime:
    """See upkeep.Upkeep. Rounded up to the microsecond, so that no write seems older than it is.

    Raises UNSAFE_PATH if there is no such tree, Stopped, OSError.
    """
    place = ws.live(live_id)
    for _ in range(_SCANS):
        if not all(map(tree.is_real_directory, (ws.root, ws.live_dir, place))):
            raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{place} is missing or no directory")
        try:
            newest = _newest_change(place, stop)
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and error.errno not in UNSAFE:
                raise
        else:
            return _EPOCH + timedelta(microseconds=-(-newest // 1000))
    return datetime.now(UTC)


def _newest_change(place: os.PathLike[str], stop: StopSignal) -> int:
    """The newest status change time of the tree's entries and its root, in nanoseconds."""
    newest = 0

    def visit(directory: int, path: bytes, nodes: list[Node]) -> None:
        nonlocal newest
        stop.check()
        changed = [node.status.st_ctime_ns for node in nodes]
        newest = max(newest, os.fstat(directory).st_ctime_ns, *changed)

    with tree.open_root(place) as root:
        tree.walk(root, visit)
    return newest

"""Sweep and purge (SPEC §7; RK-04, G20): out of its place by a rename, then deleted past the trash.

A sweep holds the workspace's lock for a few renames. A purge takes as long as what it deletes is large, and takes no
lock: it deletes staging of dead fences only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType

import structlog

from executor import contract, failpoints, fence, switch, tree
from executor.clone.driver import CloneDriver
from executor.contract import ExecutorFault, FaultReason, StopSignal
from executor.descriptor import fsync_directory
from executor.faults import reason_of
from executor.fence import Held
from executor.layout import WorkspaceLayout, staged_fence
from executor.upkeep import Purged, SweepRequest, Swept
from wvs_agent import protocol
from wvs_agent.protocol import ControlState, UnsafeFileError

_log = structlog.get_logger(__name__)
_Stays = Callable[[str], str | None]
"""Why what has this name may not be moved; None if it may."""


def sweep(ws: WorkspaceLayout, request: SweepRequest, stop: StopSignal) -> Swept:
    """See upkeep.Upkeep. A stop, or a higher fence, is obeyed between two renames too; a repeat does the rest."""
    refuse_planted(ws)
    with fence.hold(ws, request.fence, stop) as held:
        thawed = request.thaw and _thaw(ws, request.fence)
        if thawed:
            failpoints.hit("sweep.thawed")
        mover = _Mover(ws, request.fence, held)
        if request.everything:
            # Durable one by one and `current` last, so that init_workspace never finds an old tree without its link.
            for name in ("live", "snapshots", "current"):
                mover.move(ws.root, [name], stays=lambda _: None)
        else:
            mover.move(ws.live_dir, request.live, stays=_live_stays(ws))
            mover.move(ws.snapshots_dir, request.snapshots, stays=_snapshot_stays)
    return Swept(moved=tuple(mover.moved), kept=MappingProxyType(mover.kept), thawed=thawed)


def purge(ws: WorkspaceLayout, highest: int, driver: CloneDriver, stop: StopSignal) -> Purged:
    """See upkeep.Upkeep. Others may delete the same at the same time: the next attempt of a task, another purge."""
    refuse_planted(ws)
    deleted: list[str] = []
    left: dict[str, str] = {}
    for name in sorted(os.listdir(ws.staging_dir)):  # noqa: PTH208 — names, and odd ones as well
        stop.check()
        number = staged_fence(name)
        if number is not None and number > highest:
            continue
        why = "its name does not end in a fence" if number is None else _delete(ws.staging_dir / name, driver, stop)
        if why is None:
            deleted.append(protocol.printable(name))
            failpoints.hit("purge.deleted")
        else:
            left[protocol.printable(name)] = why
    return Purged(deleted=tuple(deleted), left=MappingProxyType(left))


class _Mover:
    """Moves names into staging; the caller holds the lock."""

    def __init__(self, ws: WorkspaceLayout, number: int, held: Held) -> None:
        self.moved: list[str] = []
        self.kept: dict[str, str] = {}
        self._ws = ws
        self._number = number
        self._held = held

    def move(self, directory: Path, names: Sequence[str], *, stays: _Stays) -> None:
        """Names of one directory, which is no symlink; then it is durable. What is gone already is passed over.

        Raises Stopped, ExecutorFault(FENCED), OSError if `directory` is no directory or the disk does not answer.
        """
        if not names or not os.path.lexists(directory):
            return
        with tree.open_root(directory) as source, tree.open_root(self._ws.staging_dir) as staging:
            for name in names:
                why = stays(name)
                if why is None:
                    why = self._rename(source, staging, directory / name)
                if why is not None:
                    self.kept[self._said(directory, name)] = why
            os.fsync(staging)
            os.fsync(source)

    def _rename(self, source: int, staging: int, place: Path) -> str | None:
        """One rename, after a look at the fence; why it failed. Whatever lies there is moved itself, never followed."""
        self._held.check(force=True)
        try:
            new_name = self._ws.swept(place, self._number).name
            switch.move(Path(place.name), Path(new_name), source=source, target=staging)
        except FileNotFoundError:
            return None
        except OSError as error:
            if reason_of(error) is FaultReason.UNAVAILABLE:
                raise
            return str(error)
        self.moved.append(self._said(place.parent, place.name))
        failpoints.hit("sweep.moved")
        return None

    def _said(self, directory: Path, name: str) -> str:
        return protocol.printable(name if directory == self._ws.root else f"{directory.name}/{name}")


def refuse_planted(ws: WorkspaceLayout) -> None:
    """We would work behind a symlink (G16). Raises UNSAFE_PATH."""
    for path in (ws.root, ws.wvs, ws.staging_dir):
        if not tree.is_real_directory(path):
            raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{path} is missing or no directory: not our workspace")


def _live_stays(ws: WorkspaceLayout) -> _Stays:
    """The tree that `current` points at stays; so do all, if what `current` means cannot be told."""
    try:
        target, lost = switch.read_current(ws), None
    except ExecutorFault as fault:
        target, lost = None, fault.message
    if target is not None and not _is_ours(target):
        lost = f"current points at {protocol.printable(target)}, which is none of our trees"

    def stays(name: str) -> str | None:
        if not contract.matches(contract.LIVE_ID_PATTERN, name):
            return "no live_id"
        return "current points at it" if target == ws.link_target(name) else lost

    return stays


def _snapshot_stays(name: str) -> str | None:
    return None if contract.matches(contract.SNAPSHOT_ID_PATTERN, name) else "no snapshot_id"


def _is_ours(target: str) -> bool:
    return target.startswith("live/") and contract.matches(contract.LIVE_ID_PATTERN, target.removeprefix("live/"))


def _thaw(ws: WorkspaceLayout, number: int) -> bool:
    """Take back a REQUEST_FREEZE: we hold the workspace's lock, so whoever asked is dead. Whether there was one.

    Raises OSError, but not for a full volume, where a sweep makes room: the agent's lease ends that freeze.
    """
    left = None
    with contextlib.suppress(UnsafeFileError):
        left = protocol.read_control(ws.control)
    if left is None or left.state is not ControlState.REQUEST_FREEZE:
        return False
    target = None
    with contextlib.suppress(ExecutorFault):
        target = switch.read_current(ws)
    resume = dataclasses.replace(
        left,
        state=ControlState.REQUEST_RESUME,
        current=target if target is not None and _is_ours(target) else left.current,
        fence=number,
        updated_at=protocol.now_text(),
    )
    try:
        protocol.replace_file(ws.control, resume.encode())
        fsync_directory(ws.wvs)
    except OSError as error:
        if reason_of(error) is not FaultReason.NO_SPACE:
            raise
        _log.warning("freeze.resume_unwritten", wsid=ws.wsid, error=str(error))
        return False
    return True


def _delete(path: Path, driver: CloneDriver, stop: StopSignal) -> str | None:
    """Delete one entry of staging; why that failed. Raises Stopped, and OSError if the disk does not answer."""
    with contextlib.suppress(OSError):
        path.rmdir()  # empty: no program need be started for it
        return None
    try:
        if tree.is_real_directory(path):
            driver.delete(path, stop=stop, check=stop.check)
        else:
            tree.delete(path)
    except OSError as error:
        if reason_of(error) is FaultReason.UNAVAILABLE:
            raise
        return str(error)
    return None

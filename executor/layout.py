"""Every path on the volume is born here (SPEC §2).

A path is built only from identifiers that match their patterns, so an empty or crafted id can never address a
parent directory (G17). Nothing here touches the disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from executor import contract
from executor.contract import ExecutorFault, FaultReason
from wvs_agent import protocol

OURS: Final = frozenset({"current", "live", "snapshots", protocol.WVS_DIR})
"""What lies in a workspace's directory; anything else is strange there."""
_STAGED: Final = re.compile(r".+\.([1-9][0-9]{0,18})", re.DOTALL)


def _valid(kind: str, pattern: str, value: str | None) -> str:
    if value is None or not contract.matches(pattern, value):
        raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{kind} {value!r} does not match {pattern}")
    return value


def _positive(fence: int) -> int:
    if fence < 1:
        raise ExecutorFault(FaultReason.UNSAFE_PATH, f"fence {fence} is not a positive number")
    return fence


@dataclass(frozen=True, slots=True)
class Layout:
    """The volume: `mount` is where it is mounted, an absolute path (`/ws` in the specification)."""

    mount: Path

    def workspace(self, wsid: str) -> WorkspaceLayout:
        """Raises ExecutorFault(UNSAFE_PATH) for anything that is not a wsid."""
        return WorkspaceLayout(self.mount / _valid("wsid", contract.WSID_PATTERN, wsid), wsid)


@dataclass(frozen=True, slots=True)
class WorkspaceLayout:
    """The paths of one workspace. Methods that take an id raise ExecutorFault(UNSAFE_PATH) for a bad one."""

    root: Path
    wsid: str

    @property
    def current(self) -> Path:
        """The symlink through which the agent sees its tree."""
        return self.root / "current"

    @property
    def live_dir(self) -> Path:
        """Parent of the writable trees."""
        return self.root / "live"

    def live(self, live_id: str | None) -> Path:
        """One writable tree."""
        return self.live_dir / _valid("live_id", contract.LIVE_ID_PATTERN, live_id)

    def link_target(self, live_id: str | None) -> str:
        """What `current` holds when it points at `live_id`: relative."""
        return f"live/{_valid('live_id', contract.LIVE_ID_PATTERN, live_id)}"

    @property
    def snapshots_dir(self) -> Path:
        """Parent of the snapshots."""
        return self.root / "snapshots"

    def snapshot(self, snapshot_id: str | None) -> Path:
        """One snapshot: its tree and its descriptor."""
        return self.snapshots_dir / _valid("snapshot_id", contract.SNAPSHOT_ID_PATTERN, snapshot_id)

    @property
    def wvs(self) -> Path:
        """The executor's own directory."""
        return self.root / protocol.WVS_DIR

    @property
    def control(self) -> Path:
        """control.json: the executor writes, the agent reads."""
        return self.root / protocol.CONTROL_FILE

    @property
    def agent_lock(self) -> Path:
        """flock'ed by whoever is attached as the agent."""
        return self.root / protocol.AGENT_LOCK

    @property
    def agent_dir(self) -> Path:
        """The agent's directory."""
        return self.root / protocol.AGENT_DIR

    @property
    def agent_file(self) -> Path:
        """agent.json: the agent writes, the executor reads."""
        return self.root / protocol.AGENT_FILE

    @property
    def lock(self) -> Path:
        """flock'ed by the executor while it works on this workspace."""
        return self.wvs / "lock"

    @property
    def fence(self) -> Path:
        """The highest fencing token seen."""
        return self.wvs / "fence"

    @property
    def fence_lock(self) -> Path:
        """The short lock of the fence file."""
        return self.wvs / "fence.lock"

    @property
    def staging_dir(self) -> Path:
        """Everything half-made is below it, and only there."""
        return self.wvs / "staging"

    def staging(self, task_id: str, fence: int) -> Path:
        """The staging directory of one attempt."""
        return self.staging_dir / f"{_valid('task_id', contract.TASK_ID_PATTERN, task_id)}.{_positive(fence)}"

    def swept(self, place: Path, fence: int) -> Path:
        """Where a sweep moves what lies at `place`, a path of this workspace: an entry of staging by itself.

        So a sweep makes nothing but renames, and needs no space.
        """
        return self.staging_dir / f"swept-{'-'.join(place.relative_to(self.root).parts)}.{_positive(fence)}"


def staged_fence(name: str) -> int | None:
    """The fence of an entry of staging: what stands after its last dot. None if that is no fence."""
    found = _STAGED.fullmatch(name)
    return int(found[1]) if found else None


def snapshot_tree(snapshot: Path) -> Path:
    """The cloned tree below a snapshot's directory (or its staging)."""
    return snapshot / "tree"


def snapshot_descriptor(snapshot: Path) -> Path:
    """The descriptor below a snapshot's directory (or its staging)."""
    return snapshot / ".wvs" / "snapshot.json"

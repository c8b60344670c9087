"""Publication: the moments at which something becomes visible, each one rename(2) (SPEC §2)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from executor.contract import ExecutorFault, FaultReason
from executor.descriptor import fsync_directory
from executor.layout import WorkspaceLayout


def read_current(ws: WorkspaceLayout) -> str | None:
    """Where `current` points; None if there is none. Raises UNSAFE_PATH if it is anything but a symlink (H12)."""
    try:
        mode = ws.current.lstat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISLNK(mode):
        raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{ws.current} is not a symlink")
    return str(ws.current.readlink())


def publish(staged: Path, place: Path, *, displaced: Path) -> None:
    """Rename what is complete and durable in staging to its place; whatever lies there is moved to staging first."""
    if os.path.lexists(place):
        place.rename(displaced)
    staged.rename(place)
    fsync_directory(place.parent)


def point_current(ws: WorkspaceLayout, target: str, *, staging: Path) -> None:
    """Switch `current` to `target`: a symlink made in staging replaces it by one rename; then it is durable.

    Raises UNSAFE_PATH if something that is no symlink lies in its place.
    """
    read_current(ws)
    link = staging / "current"
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    link.rename(ws.current)
    fsync_directory(ws.root)

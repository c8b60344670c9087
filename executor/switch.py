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
        move(place, displaced)
    move(staged, place)
    fsync_directory(place.parent)


def move(path: Path, place: Path, *, source: int | None = None, target: int | None = None) -> None:
    """rename(2), of a directory too that its owner has closed to himself: only root may move such a one as it is.

    `source` and `target`: descriptors of the directories that relative paths are below. Raises OSError.
    """
    try:
        os.rename(path, place, src_dir_fd=source, dst_dir_fd=target)
    except PermissionError:
        _move_closed(path, place, source, target)


def _move_closed(path: Path, place: Path, source: int | None, target: int | None) -> None:
    """Opened to its owner for the rename alone. Raises OSError if it is not ours, or no directory."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        itself = Path(f"/proc/self/fd/{fd}")
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        itself.chmod(mode | stat.S_IWUSR | stat.S_IXUSR)
        try:
            os.rename(path, place, src_dir_fd=source, dst_dir_fd=target)
        finally:
            itself.chmod(mode)
    finally:
        os.close(fd)


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

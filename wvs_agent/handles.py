"""What a process has open, by /proc (SPEC §8): flushing it before FROZEN, and what is left of the old tree."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from wvs_agent.descriptors import SELF, FileSystems, descriptors, open_for_writing
from wvs_agent.documents import MAX_OLD_HANDLES, printable


def fsync_open_files(root: str | os.PathLike[str]) -> int:
    """fsync every regular file that this process has open for writing on the file system of `root`; how many it was.

    A FUSE client keeps written data to itself until fsync or close, and syncfs() does not reach it: what is not
    fsync'ed before FROZEN is not in the snapshot (H1). Whole file system, not only paths below `root`, since the same
    tree may be open by another path. Files that are mapped shared and writable, but closed, are opened for it.

    It cannot reach what has not been written yet (buffers of the program's own: flush them first), nor other processes.
    Raises OSError when a file cannot be flushed: then the program must not be called frozen.
    """
    device, mounts = Path(root).stat().st_dev, FileSystems(root)
    flushed = 0
    for fd in list(descriptors(SELF)):
        try:
            # In this order: fstat() of a file on a mount that does not answer would never come back.
            if not open_for_writing(SELF, fd) or not mounts.may_hold(SELF, fd):
                continue
            status = os.fstat(fd)
            if status.st_dev == device and stat.S_ISREG(status.st_mode):
                os.fsync(fd)
                flushed += 1
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOENT):  # closed since it was listed: close has flushed it
                raise
    return flushed + _fsync_mapped(device)


def old_handles(root: str | os.PathLike[str], current: str) -> tuple[str, ...]:
    """What this process holds of live trees other than `current` (`live/<id>`), where it goes on writing (H7).

    Its working directory, its open files, and what it maps shared and writable, maybe long closed. At most 50, as text
    for people: "cwd live/initial/src", "fd 3 live/initial/log", "map live/initial/index".
    """
    return tuple(itertools.islice(_left_behind(root, current, SELF, ""), MAX_OLD_HANDLES))


def old_handles_of(pids: Iterable[int], root: str | os.PathLike[str], current: str) -> tuple[str, ...]:
    """The same of other processes, their numbers before it: "process 4711 cwd live/initial/src"."""
    every = (_left_behind(root, current, Path(f"/proc/{pid}"), f"process {pid} ") for pid in pids)
    return tuple(itertools.islice(itertools.chain.from_iterable(every), MAX_OLD_HANDLES))


def _left_behind(root: str | os.PathLike[str], current: str, process: Path, prefix: str) -> Iterator[str]:
    trees = os.path.realpath(root) + "/"
    kept = f"{trees}{current}"
    for name, place in _places(process, Path(root).stat().st_dev):
        if not place.startswith(f"{trees}live/") or place == kept or place.startswith(f"{kept}/"):
            continue
        yield printable(f"{prefix}{name} {place.removeprefix(trees)}")


def _places(process: Path, device: int) -> Iterator[tuple[str, str]]:
    """Name and path of the working directory, of each open file and of what is mapped; nothing of a process gone."""
    with contextlib.suppress(OSError):
        yield "cwd", str((process / "cwd").readlink())
    fds: list[int] = []
    with contextlib.suppress(OSError):
        fds = list(descriptors(process))
    for fd in fds:
        try:
            yield f"fd {fd}", str((process / "fd" / str(fd)).readlink())
        except OSError:
            continue
    mapped: set[bytes] = set()
    with contextlib.suppress(OSError):
        mapped = shared_writable_mappings(process, device)
    for path in sorted(mapped):
        yield "map", os.fsdecode(path)


def _fsync_mapped(device: int) -> int:
    """fsync what is mapped shared and writable from that device: fsync by any descriptor writes the pages back."""
    flushed = 0
    for place in shared_writable_mappings(SELF, device):
        try:
            fd = os.open(place, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # deleted: it is in no tree
        try:
            os.fsync(fd)
            flushed += 1
        finally:
            os.close(fd)
    return flushed


def shared_writable_mappings(process: Path, device: int) -> set[bytes]:
    """Paths of what the process maps from `device` so that it may write to it. Raises OSError.

    From lines like `7f..-7f.. rw-s 00000000 00:2b 1234   /path`."""
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}".encode()
    found = set()
    for line in (process / "maps").read_bytes().splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[1].startswith(b"rw") and parts[1][3:4] == b"s" and parts[3] == wanted:
            found.add(parts[5].replace(b"\\012", b"\n"))
    return found

"""What this process has open, by /proc/self (SPEC §8): flushing it before FROZEN, and what is left of the old tree."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wvs_agent.documents import MAX_OLD_HANDLES, printable

_DESCRIPTORS: Final = Path("/proc/self/fd")
_DESCRIPTOR_FACTS: Final = Path("/proc/self/fdinfo")
_MAPPINGS: Final = Path("/proc/self/maps")


def fsync_open_files(root: str | os.PathLike[str]) -> int:
    """fsync every regular file that this process has open for writing on the file system of `root`; how many it was.

    A FUSE client keeps written data to itself until fsync or close, and syncfs() does not reach it: what is not
    fsync'ed before FROZEN is not in the snapshot (H1). Whole file system, not only paths below `root`, since the same
    tree may be open by another path. Files that are mapped shared and writable, but closed, are opened for it.

    It cannot reach what has not been written yet (buffers of the program's own: flush them first), nor other processes.
    Raises OSError when a file cannot be flushed: then the program must not be called frozen.
    """
    device = Path(root).stat().st_dev
    flushed = 0
    for fd in list(_descriptors()):
        try:
            status = os.fstat(fd)
            if status.st_dev == device and stat.S_ISREG(status.st_mode) and _open_for_writing(fd):
                os.fsync(fd)
                flushed += 1
        except OSError as error:
            if error.errno != errno.EBADF:  # closed since it was listed: close has flushed it
                raise
    return flushed + _fsync_mapped(device)


def old_handles(root: str | os.PathLike[str], current: str) -> tuple[str, ...]:
    """Working directory and open files of this process in a live tree other than `current` (`live/<id>`).

    They go on reading and writing there (H7). At most 50, as text for people: "cwd live/initial/src".
    """
    trees = os.path.realpath(root) + "/"
    kept = f"{trees}{current}"
    found: list[str] = []
    for name, place in _places():
        if not place.startswith(f"{trees}live/") or place == kept or place.startswith(f"{kept}/"):
            continue
        found.append(printable(f"{name} {place.removeprefix(trees)}"))
        if len(found) == MAX_OLD_HANDLES:
            break
    return tuple(found)


def _places() -> Iterator[tuple[str, str]]:
    """Name and path of the working directory and of each open file."""
    with contextlib.suppress(OSError):
        yield "cwd", str(Path("/proc/self/cwd").readlink())
    for fd in list(_descriptors()):
        try:
            yield f"fd {fd}", str((_DESCRIPTORS / str(fd)).readlink())
        except OSError:
            continue


def _descriptors() -> Iterator[int]:
    for entry in _DESCRIPTORS.iterdir():
        yield int(entry.name)


def _open_for_writing(fd: int) -> bool:
    try:
        facts = (_DESCRIPTOR_FACTS / str(fd)).read_text()
    except FileNotFoundError:
        return False
    for line in facts.splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return True


def _fsync_mapped(device: int) -> int:
    """fsync what is mapped shared and writable from that device: fsync by any descriptor writes the pages back."""
    flushed = 0
    for place in _shared_writable_mappings(device):
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


def _shared_writable_mappings(device: int) -> set[bytes]:
    """Paths, from lines like `7f..-7f.. rw-s 00000000 00:2b 1234   /path`."""
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}".encode()
    found = set()
    for line in _MAPPINGS.read_bytes().splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[1].startswith(b"rw") and parts[1][3:4] == b"s" and parts[3] == wanted:
            found.add(parts[5].replace(b"\\012", b"\n"))
    return found

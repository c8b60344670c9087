"""What the kernel says of a process's descriptors, and on which file system they lie, without touching it (SPEC §8).

A command may have files open on other mounts than the workspace's, and to ask anything about a file whose server does
not answer (stat too) is to wait with it, for ever, unstoppably.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SELF: Final = Path("/proc/self")


def descriptors(process: Path) -> Iterator[int]:
    """The descriptors of a process or thread, by its directory in /proc. Raises OSError."""
    for entry in (process / "fd").iterdir():
        yield int(entry.name)


def open_for_writing(process: Path, fd: int) -> bool:
    """Whether that descriptor may write. Raises OSError other than for a descriptor that is gone."""
    try:
        flags = _fact(process, fd, "flags")
    except FileNotFoundError:
        return False
    return flags is None or int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


class FileSystems:
    """The file system below `root`, and who may be on it; for one look at what many processes have open."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Raises OSError where there is no `root`."""
        self._device_of: dict[int, str] = {}
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._ours = self._device(SELF, fd)
        finally:
            os.close(fd)

    def may_hold(self, process: Path, fd: int) -> bool:
        """Whether that descriptor may lie on the file system. Raises OSError.

        False is sure; what the kernel does not tell (another namespace's mounts, what is mounted nowhere) may.
        """
        device = self._device(process, fd)
        return not device or not self._ours or device == self._ours

    def _device(self, process: Path, fd: int) -> str:
        """As `major:minor`; empty when it is not known. Mounts have one number each, whoever looks."""
        mount = int(_fact(process, fd, "mnt_id") or -1)
        if mount not in self._device_of:
            self._learn(process)
        return self._device_of.setdefault(mount, "")

    def _learn(self, process: Path) -> None:
        """From lines like `36 35 98:0 / /ws rw - fuse.juicefs …`."""
        with contextlib.suppress(OSError):
            for line in (process / "mountinfo").read_bytes().splitlines():
                number, _, device, *_ = line.split()
                self._device_of[int(number)] = device.decode()


def _fact(process: Path, fd: int, name: str) -> str | None:
    for line in (process / "fdinfo" / str(fd)).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split()[1]
    return None

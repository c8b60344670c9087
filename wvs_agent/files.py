"""Reading what the other side wrote, and replacing what is ours (SPEC §8; G4, G16, H12)."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final

from wvs_agent.documents import MAX_FILE_BYTES, AgentStatus, Control, MalformedDocumentError

OPEN_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NOT_A_FILE: Final = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV})
"""What open() answers for a symlink, a directory, a socket or a device in the place of a file."""


class UnsafeFileError(Exception):
    """What lies at the path is not a regular file of at most 64 KiB (G16, H12): it was planted, not written by us."""


def read_control(path: Path) -> Control | None:
    """control.json, or None while it is missing or not a whole, valid document. Raises UnsafeFileError."""
    data = _read_regular(path)
    if data is None:
        return None
    with contextlib.suppress(MalformedDocumentError):
        return Control.parse(data)
    return None


def read_agent(path: Path) -> AgentStatus | None:
    """agent.json, or None while it is missing or not a whole, valid document. Raises UnsafeFileError."""
    data = _read_regular(path)
    if data is None:
        return None
    with contextlib.suppress(MalformedDocumentError):
        return AgentStatus.parse(data)
    return None


def _read_regular(path: Path) -> bytes | None:
    """The bytes of a regular file; None when it cannot be read now (missing, or replaced under our hands)."""
    try:
        fd = os.open(path, os.O_RDONLY | OPEN_FLAGS)
    except OSError as error:
        if error.errno in NOT_A_FILE:
            raise UnsafeFileError(f"{path} is not a regular file") from error
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeFileError(f"{path} is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise UnsafeFileError(f"{path} has {status.st_size} bytes, more than {MAX_FILE_BYTES}")
        return _read_whole(fd, path)
    except OSError:
        return None
    finally:
        os.close(fd)


def _read_whole(fd: int, path: Path) -> bytes:
    data = b""
    while piece := os.read(fd, MAX_FILE_BYTES + 1 - len(data)):
        data += piece
        if len(data) > MAX_FILE_BYTES:
            raise UnsafeFileError(f"{path} grew beyond {MAX_FILE_BYTES} bytes while it was read")
    return data


def replace_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put `data` in the place of `path` by temporary file, fsync and rename: a reader sees all of it or none (G4).

    One writer at a time. Raises OSError (ENOSPC, EDQUOT, …), and then `path` is as it was.
    """
    temporary = stage_file(path, data, suffix="tmp", mode=mode)
    try:
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def stage_file(path: Path, data: bytes, *, suffix: str, mode: int = 0o644) -> Path:
    """Write `data` durably beside `path`, ready to be renamed into its place, which needs no more space.

    The name is fixed, so that a crash leaves one such file at most; whatever lies there is removed, never opened.
    Raises OSError, and then nothing is left.
    """
    temporary = path.with_name(f".{path.name}.{suffix}")
    fd = _create(temporary, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if stat.S_IMODE(os.fstat(fd).st_mode) != mode:  # the umask took some of it
                os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _create(path: Path, mode: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_FLAGS
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        path.unlink(missing_ok=True)
        return os.open(path, flags, mode)

"""What both sides of the quiesce protocol share (SPEC §8): the two files, the agent lock and the lease.

The executor writes control.json, the agent writes agent.json; each is replaced whole and never edited in place (G4).
Whether an agent is there is decided by flock on agent.lock and by nothing else (G1 to G3). Linux only.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import secrets
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wvs_agent.documents import (
    AGENT_STATES,
    CONTROL_STATES,
    MAX_FILE_BYTES,
    AgentState,
    AgentStatus,
    Control,
    ControlState,
    MalformedDocumentError,
    printable,
)

__all__ = [
    "AGENT_DIR",
    "AGENT_FILE",
    "AGENT_LOCK",
    "AGENT_STATES",
    "CONTROL_FILE",
    "CONTROL_STATES",
    "CURRENT_WAIT_LIMIT",
    "MAX_FILE_BYTES",
    "RESUME_ANSWER_LIMIT",
    "WVS_DIR",
    "AgentLock",
    "AgentState",
    "AgentStatus",
    "Control",
    "ControlState",
    "Lease",
    "MalformedDocumentError",
    "UnsafeFileError",
    "clock",
    "new_nonce",
    "now_text",
    "printable",
    "read_agent",
    "read_control",
    "replace_file",
    "stage_file",
]

WVS_DIR: Final = ".wvs"
CONTROL_FILE: Final = ".wvs/control.json"
AGENT_LOCK: Final = ".wvs/agent.lock"
AGENT_DIR: Final = ".wvs/agent"
AGENT_FILE: Final = ".wvs/agent/agent.json"

RESUME_ANSWER_LIMIT: Final = 5.0
"""Seconds that the executor waits for RUNNING after REQUEST_RESUME."""
CURRENT_WAIT_LIMIT: Final = 4.5
"""Seconds that the agent waits to see the `current` that REQUEST_RESUME names: within the 5 s of SPEC §8, and less
than the executor waits, so that the answer of an agent which still sees the old one is heard too."""

_OPEN_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_A_FILE: Final = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV})


class UnsafeFileError(Exception):
    """What lies at the path is not a regular file of at most 64 KiB (G16, H12): it was planted, not written by us."""


def clock() -> float:
    """Seconds on this host's own clock for leases. It counts suspended time too and no one can set it (H5)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def new_nonce() -> str:
    """A nonce that no file of the past can hold."""
    return secrets.token_hex(16)


def now_text() -> str:
    """`updated_at`: UTC, RFC 3339 with microseconds. For people only; nothing is decided by it (H5)."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Lease:
    """A right that ends by itself: `seconds` from `start` on this side's own clock().

    The agent starts it after it read a renewal, the executor before it wrote it: the executor's ends first (SPEC §8).
    """

    start: float
    seconds: float

    def remaining(self) -> float:
        """Seconds left; zero or less when it is over."""
        return self.start + self.seconds - clock()

    def stands(self, *, margin: float = 0.0) -> bool:
        """Whether more than `margin` seconds are left."""
        return self.remaining() > margin


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
        fd = os.open(path, os.O_RDONLY | _OPEN_FLAGS)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
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
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS, 0o600)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


class AgentLock:
    """flock on agent.lock: held by whoever is attached as the agent, or by the executor so that nobody can attach.

    It belongs to the open file, so whoever inherits the descriptor holds it too, and it ends with the last of them.
    """

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError: a lock is never made anew, for a holder of the old one would be forgotten."""
        self._path = path
        self._held = False
        self._fd = -1
        self._open()

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDWR | _OPEN_FLAGS)
        except OSError as error:
            if error.errno in _NOT_A_FILE:
                raise UnsafeFileError(f"{self._path} is not a regular file") from error
            raise
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            self.close()
            raise UnsafeFileError(f"{self._path} is not a regular file")

    @property
    def held(self) -> bool:
        """Whether this object took the lock."""
        return self._held

    def fileno(self) -> int:
        """The descriptor; -1 once closed."""
        return self._fd

    def try_acquire(self) -> bool:
        """Take the lock if it is free; never waits. Raises OSError other than "taken"."""
        if self._held:
            return True
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not os.path.samestat(os.fstat(self._fd), self._path.lstat()):
            # The file was replaced since we opened it: what we locked is not what the other side tries.
            self.close()
            self._open()
            return self.try_acquire()
        self._held = True
        return True

    def share_with_children(self) -> None:
        """Let programs started from now on inherit the descriptor, where they are not started with close_fds."""
        os.set_inheritable(self._fd, True)

    def close(self) -> None:
        """Give up our hold. No LOCK_UN: that would free it under a child that inherited it and still writes."""
        fd, self._fd, self._held = self._fd, -1, False
        if fd >= 0:
            os.close(fd)

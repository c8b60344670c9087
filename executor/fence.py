"""The fence and the executor's lock of a workspace (SPEC §6, §7): whoever has a higher fence wins, at once.

`.wvs/fence` holds the highest fencing token that was seen. It is raised before waiting for `.wvs/lock`, so that the
holder, which looks at it each second and before it publishes, gives way. Both are flocks, which exclude across mounts.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from executor import failpoints
from executor.contract import ExecutorFault, FaultReason, StopSignal
from executor.layout import WorkspaceLayout

RECHECK_SECONDS: Final = 1.0
_FIRST_DELAY: Final = 0.005
_LAST_DELAY: Final = 0.050
_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIGITS: Final = 20
_SHORT_LOCK_SECONDS: Final = 10.0


class Held:
    """The lock, held by one attempt. `lock_fd` goes to its children, so that the lock lives as long as the clone."""

    def __init__(self, ws: WorkspaceLayout, fence: int, stop: StopSignal, lock_fd: int) -> None:
        self._ws = ws
        self._fence = fence
        self._stop = stop
        self.lock_fd = lock_fd
        self._checked_at = time.monotonic()

    def check(self, *, force: bool = False) -> None:
        """Go on, or not: raises Stopped, or ExecutorFault(FENCED) if a newer attempt has come.

        The fence is read at most once a second unless forced; it is forced before anything is published.
        """
        self._stop.check()
        self.check_fence(force=force)

    def check_deleting(self, stop: StopSignal) -> None:
        """Go on deleting, or not: by a stop that may be another than the run's, and by the fence."""
        stop.check()
        self.check_fence()

    def check_fence(self, *, force: bool = False) -> None:
        """As check(), for what goes on though the run was stopped: raises only ExecutorFault(FENCED)."""
        now = time.monotonic()
        if force or now - self._checked_at >= RECHECK_SECONDS:
            self._checked_at = now
            seen = read_fence(self._ws)
            if seen > self._fence:
                raise _fenced(self._fence, seen)


@contextmanager
def hold(ws: WorkspaceLayout, fence: int, stop: StopSignal) -> Iterator[Held]:
    """Raise the fence, then hold the workspace's lock until the context ends.

    Raises ExecutorFault (FENCED; UNSAFE_PATH for planted or missing lock files) and Stopped.
    """
    raise_fence(ws, fence)
    lock_fd = _open(ws.lock)
    try:
        _wait_for_lock(ws, fence, stop, lock_fd)
        failpoints.hit("fence.held", ws.wsid)
        try:
            yield Held(ws, fence, stop, lock_fd)
        finally:
            failpoints.hit("fence.released", ws.wsid)
    finally:
        # No LOCK_UN: a child that inherited the descriptor keeps the lock until it is dead.
        os.close(lock_fd)


def raise_fence(ws: WorkspaceLayout, fence: int) -> None:
    """Make `fence` the highest token seen. Raises FENCED if a higher one is there; an equal one is this attempt's.

    Written in place with a fixed width: on a full volume that needs no space, so that a drop can make some.
    """
    with _fence_file(ws, exclusive=True) as fd:
        seen = _parse(fd)
        if seen > fence:
            raise _fenced(fence, seen)
        if seen < fence:
            os.pwrite(fd, b"%0*d\n" % (_DIGITS, fence), 0)
            os.fsync(fd)


def read_fence(ws: WorkspaceLayout) -> int:
    """The highest token seen; 0 if there was none."""
    with _fence_file(ws, exclusive=False) as fd:
        return _parse(fd)


@contextmanager
def _fence_file(ws: WorkspaceLayout, *, exclusive: bool) -> Iterator[int]:
    """The fence file, under its own short lock."""
    lock_fd = _open(ws.fence_lock)
    try:
        _lock_soon(lock_fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, ws.fence_lock)
        fd = _open(ws.fence)
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        os.close(lock_fd)


def _lock_soon(fd: int, kind: int, path: Path) -> None:
    """The short lock: whoever holds it is done in a millisecond, unless its host has died."""
    until = time.monotonic() + _SHORT_LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise ExecutorFault(FaultReason.UNAVAILABLE, f"{path} stayed locked") from None
            time.sleep(0.001)
        else:
            return


def _parse(fd: int) -> int:
    text = os.pread(fd, 64, 0).strip()
    if not text:
        return 0
    if not text.isdigit():
        raise ExecutorFault(FaultReason.UNSAFE_PATH, f"the fence file holds {text!r}, not a number")
    return int(text)


def _wait_for_lock(ws: WorkspaceLayout, fence: int, stop: StopSignal, lock_fd: int) -> None:
    delay = _FIRST_DELAY
    waiting = Held(ws, fence, stop, lock_fd)
    while True:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting.check()
            stop.wait(delay)
            delay = min(delay * 2, _LAST_DELAY)
        else:
            waiting.check(force=True)
            return


def _open(path: Path) -> int:
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{path} is missing: not a workspace of ours") from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{path} is not a regular file")
    return fd


def _fenced(mine: int, seen: int) -> ExecutorFault:
    return ExecutorFault(FaultReason.FENCED, f"a newer attempt has come: fence {seen} is higher than {mine}")

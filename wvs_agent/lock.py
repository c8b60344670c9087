"""The agent lock: who is attached (SPEC §8; G1 to G3, H4)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path

from wvs_agent.files import NOT_A_FILE, OPEN_FLAGS, UnsafeFileError


class AgentLock:
    """flock on agent.lock: held by whoever is attached as the agent, or by the executor so that nobody can attach.

    It belongs to the open file, so whoever inherits the descriptor holds it too, and it ends with the last of them.

    It can be lost while its holder lives: when the process that serves a FUSE mount was killed, the one in its place
    knows no descriptor of before; when an operator detached the agent, another file lies in its place. So a holder
    confirms it now and then. Not thread-safe.
    """

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError: a lock is never made anew, for a holder of the old one would be forgotten."""
        self._path = path
        self._held = False
        self._fd = -1
        self._shared = False
        self._outlived: list[int] = []
        self._open()

    def _open(self) -> None:
        try:
            fd = os.open(self._path, os.O_RDWR | OPEN_FLAGS)
        except OSError as error:
            if error.errno in NOT_A_FILE:
                raise UnsafeFileError(f"{self._path} is not a regular file") from error
            raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise UnsafeFileError(f"{self._path} is not a regular file")
        self._fd = fd

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
        if not self._is_in_place():
            return self._acquire_anew()  # it was replaced since we opened it: the other side tries another file
        self._held = True
        return True

    def confirm(self) -> bool:
        """Whether the lock is ours now; if it was lost and is free, it is ours again, maybe by another descriptor.

        False while somebody else has it, or nobody can tell: ask again soon. Never waits, changes nothing for a lock
        that is held, never raises. Whoever inherited the old descriptor has to be given the new one.
        """
        try:
            self._held = self._lock_again()
        except (OSError, UnsafeFileError):
            self._held = False
        return self._held

    def _lock_again(self) -> bool:
        """On the same open file it is not another hold but the same one, so no moment passes without it."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = True
        except BlockingIOError:
            ours = False
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            return self._acquire_anew()  # whoever serves the mount now does not know the descriptor
        return ours if self._is_in_place() else self._acquire_anew()

    def _is_in_place(self) -> bool:
        return os.path.samestat(os.fstat(self._fd), self._path.lstat())

    def _acquire_anew(self) -> bool:
        """Through a new descriptor. The old one stays open until the end: a mount that does not know it may have given
        its number to another open file, whose locks would go when this one is closed."""
        old = self._fd
        self._open()
        self._outlived.append(old)
        self._held = False
        if self._shared:
            self.share_with_children()
        return self.try_acquire()

    def share_with_children(self) -> None:
        """Let programs started from now on inherit the descriptor, where they are not started with close_fds."""
        self._shared = True
        os.set_inheritable(self._fd, True)

    def close(self) -> None:
        """Give up our hold. No LOCK_UN: that would free it under a child that inherited it and still writes."""
        fds, self._outlived = [*self._outlived, self._fd], []
        self._fd, self._held = -1, False
        for fd in fds:
            if fd >= 0:
                with contextlib.suppress(OSError):  # it is closed all the same, also where the mount does not know it
                    os.close(fd)

"""The agent lock: who is attached (SPEC §8; G1 to G3, H4)."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from wvs_agent.files import NOT_A_FILE, OPEN_FLAGS, UnsafeFileError


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
            self._fd = os.open(self._path, os.O_RDWR | OPEN_FLAGS)
        except OSError as error:
            if error.errno in NOT_A_FILE:
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

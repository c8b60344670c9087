"""Waiting until a file was replaced, on this mount or through another one (SPEC §8)."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from wvs_agent.ready import readable

FIRST_DELAY: Final = 0.005
LAST_DELAY: Final = 0.050
_LISTED: Final = 64
"""Entries that one look at a directory reads: the other side may have filled it with a million."""
_TRUST: Final = 1.0
"""Seconds that an unchanged inode, size and mtime are believed: inode numbers may be used again."""
_WAKE_SPACING: Final = 0.002
_IN_MOVED_TO: Final = 0x80
_IN_ONLYDIR: Final = 0x01000000
_IN_DONT_FOLLOW: Final = 0x02000000

_Signature = tuple[int, int, int] | None


class FileWatch:
    """Looks at one file with a backoff of 5 to 50 ms, and at once when something is renamed into its directory.

    Listing the directory is what makes a replacement through another mount visible; inotify tells of one through this
    mount. Not thread-safe: one watch for one thread.
    """

    def __init__(self, path: Path) -> None:
        """Watches `path`, which need not be there yet. Without inotify it goes on by listing alone."""
        self._path = path
        self._delay = FIRST_DELAY
        self._inotify = _open_inotify(path.parent)
        self._woken = 0.0
        self._signature: _Signature = None
        self._believed_until = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def hasten(self) -> None:
        """Begin the backoff anew: an answer is expected soon."""
        self._delay = FIRST_DELAY

    def wait(self, limit: float, wake: int | None = None) -> None:
        """Wait for a rename into the directory, for `wake` to be readable, for the backoff or for `limit` seconds."""
        delay = min(self._delay, max(limit, 0.0))
        self._delay = min(self._delay * 2, LAST_DELAY)
        ready = readable([fd for fd in (self._inotify, wake) if fd is not None], delay)
        if self._inotify is not None and self._inotify in ready:
            self._drain(self._inotify)

    def refresh(self) -> None:
        """List the directory, so that what another mount put there is seen by the next look at the file."""
        list_directory(self._path.parent)

    def changed(self) -> bool:
        """Refresh, then say whether the file may be another one than at the last call; now and then in any case."""
        self.refresh()
        try:
            status = self._path.lstat()
            signature: _Signature = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            signature = None
        now = time.monotonic()
        if signature is not None and signature == self._signature and now < self._believed_until:
            return False
        self._signature, self._believed_until = signature, now + _TRUST
        return True

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self._inotify = self._inotify, None
        if fd is not None:
            os.close(fd)

    def _drain(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(fd, 65536):
                pass
        # The other side can rename without end: its events must not make this side spin.
        now = time.monotonic()
        if now - self._woken < _WAKE_SPACING:
            time.sleep(_WAKE_SPACING)
        self._woken = now


def list_directory(directory: Path) -> None:
    """Read the directory's first entries, which makes the kernel's view of them fresh. Never raises."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for _ in itertools.islice(entries, _LISTED):
            pass


def _open_inotify(directory: Path) -> int | None:
    """An inotify descriptor that becomes readable on a rename into `directory`, or None where there is none to have."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        return None
    mask = ctypes.c_uint32(_IN_MOVED_TO | _IN_ONLYDIR | _IN_DONT_FOLLOW)
    if libc.inotify_add_watch(fd, os.fsencode(directory), mask) < 0:
        os.close(fd)
        return None
    return fd

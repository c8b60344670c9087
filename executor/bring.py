"""Carrying out a plan: what differs is brought over from the source, by descriptors, never through a symlink (SPEC §7).

Only what needs the source to stand still is done by `bring`: contents and extended attributes. Owners, modes and times
are known from the look at the source, so `finish` sets them when the agent runs again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from executor import tree
from executor.clone.driver import Fill
from executor.delta import Plan, depth, parent_of
from executor.faults import FULL
from executor.survey import Entries, Seen, below
from executor.tree import Check
from executor.xattrs import read_xattrs, write_xattrs

_THREADS: Final = 4
_BATCH: Final = 16
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
Failed = set[tuple[bytes, bytes]]


class MovedError(OSError):
    """The entry is not what it was when it was looked at."""


@dataclass(slots=True)
class Bringer:
    """A source and its copy, by the descriptors of their roots. What must go is moved to `away`, on the same volume."""

    source: int
    copy: int
    away: Path
    fill: Fill
    check: Check
    with_xattrs: bool
    """Whether looks know extended attributes."""
    unfinished: dict[bytes, Seen] = field(default_factory=dict)
    """What still lacks its owner, mode and times."""
    _numbers: Iterator[int] = field(default_factory=count)

    def bring(self, plan: Plan, *, moving: bool) -> Failed:
        """Carry it out. `moving`: the source does, so what fails is left as it is and named in the answer.

        Else raises OSError for the first that fails. Raises what `check` raises, and OSError for a full disk, always.
        """
        failed: Failed = set()

        def attempt(path: bytes, name: bytes, work: Callable[[], None]) -> None:
            try:
                work()
            except OSError as error:
                if not moving or error.errno in FULL:
                    raise
                failed.add((path, name))

        for path, name in plan.removed:
            attempt(path, name, lambda path=path, name=name: self._remove(path, name))  # type: ignore[misc]
        for path, name, seen in plan.made:
            attempt(path, name, lambda path=path, name=name, seen=seen: self._make(path, name, seen))  # type: ignore[misc]
        for path, seen in plan.touched.items():
            self.unfinished[path] = seen
        batches = [(path, batch) for path, entries in plan.copied.items() for batch in _batches(entries)]
        if len(batches) > 1:
            with ThreadPoolExecutor(_THREADS) as pool:
                for some in pool.map(lambda batch: self._copy_batch(*batch, moving=moving), batches):
                    failed |= some
        else:
            for path, entries in batches:
                failed |= self._copy_batch(path, entries, moving=moving)
        return failed

    def finish(self, *, directories: bool) -> None:
        """Owner first (a change clears setuid and capabilities), then the mode, times last; children before parents.

        Directories at the very end only: they may be closed to their owner, and their times change with their entries.
        """
        ready = [path for path, seen in self.unfinished.items() if directories or not seen.is_directory]
        for path in sorted(ready, key=depth, reverse=True):
            self.check()
            seen = self.unfinished.pop(path)
            parent, name = parent_of(path)
            with tree.open_directory(self.copy, parent) as into:
                _dress(into, name, seen, xattrs=self.with_xattrs and seen.is_directory)

    def _remove(self, path: bytes, name: bytes) -> None:
        """Files at once; a tree is moved away, to be deleted when nobody waits."""
        self.check()
        self._forget(below(path, name))
        with tree.open_directory(self.copy, path) as into:
            try:
                status = os.stat(name, dir_fd=into, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    self.away.mkdir(mode=0o700, exist_ok=True)
                    os.rename(name, self.away / str(next(self._numbers)), src_dir_fd=into)
                else:
                    os.unlink(name, dir_fd=into)
            except FileNotFoundError:
                return

    def _forget(self, place: bytes) -> None:
        for path in [path for path in self.unfinished if path == place or path.startswith(place + b"/")]:
            del self.unfinished[path]

    def _make(self, path: bytes, name: bytes, seen: Seen) -> None:
        with self._both(path) as (directory, into):
            os.mkdir(name, 0o700, dir_fd=into)
            self._bring_xattrs(directory, into, name, seen)
        self.unfinished[below(path, name)] = seen

    def _copy_batch(self, path: bytes, entries: Entries, *, moving: bool) -> Failed:
        failed: Failed = set()
        try:
            with self._both(path) as (directory, into):
                for name, seen in entries.items():
                    self.check()
                    try:
                        self._copy(directory, into, name, seen)
                        self.unfinished[below(path, name)] = seen
                    except OSError as error:
                        if not moving or error.errno in FULL:
                            raise
                        failed.add((path, name))
        except OSError as error:
            if not moving or error.errno in FULL:
                raise
            failed |= {(path, name) for name in entries}
        return failed

    def _copy(self, directory: int, into: int, name: bytes, seen: Seen) -> None:
        if stat.S_ISLNK(seen.mode):
            os.symlink(seen.target, name, dir_fd=into)
        elif seen.is_regular:
            self._copy_file(directory, into, name, seen)
        else:
            # FIFOs and sockets; devices where we may make them.
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            os.mknod(name, stat.S_IFMT(seen.mode) | 0o600, status.st_rdev, dir_fd=into)

    def _copy_file(self, directory: int, into: int, name: bytes, seen: Seen) -> None:
        with ExitStack() as stack:
            source = os.open(name, _READ, dir_fd=directory)
            stack.callback(os.close, source)
            status = os.fstat(source)
            if (status.st_dev, status.st_ino) != (seen.dev, seen.ino):
                raise MovedError(f"{os.fsdecode(name)!r} was replaced meanwhile")
            destination = os.open(name, _WRITE, 0o600, dir_fd=into)
            stack.callback(os.close, destination)
            if status.st_size:
                self.fill(source, destination, status.st_size, self.check)
            self._bring_xattrs(directory, into, name, seen)

    def _bring_xattrs(self, directory: int, into: int, name: bytes, seen: Seen) -> None:
        """Read now: a look need not know them, and what a look knows they still are, or the entry changed."""
        xattrs = seen.xattrs or read_xattrs(directory, name)
        if xattrs:
            tree.own(into, name, seen.uid, seen.gid)
            write_xattrs(into, name, xattrs)

    @contextmanager
    def _both(self, path: bytes) -> Iterator[tuple[int, int]]:
        with tree.open_directory(self.source, path) as directory, tree.open_directory(self.copy, path) as into:
            yield directory, into


def _batches(entries: Entries) -> Iterator[Entries]:
    items = list(entries.items())
    for start in range(0, len(items), _BATCH):
        yield dict(items[start : start + _BATCH])


def _dress(into: int, name: bytes, seen: Seen, *, xattrs: bool) -> None:
    tree.own(into, name, seen.uid, seen.gid)
    if xattrs:
        write_xattrs(into, name, seen.xattrs)
    if not stat.S_ISLNK(seen.mode):
        os.chmod(name, stat.S_IMODE(seen.mode), dir_fd=into)
    os.utime(name, ns=(seen.mtime_ns, seen.mtime_ns), dir_fd=into, follow_symlinks=False)

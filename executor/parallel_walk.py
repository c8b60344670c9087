"""Every directory of a tree, in several threads: what waits for the metadata engine can wait at the same time.

A directory is opened below its parent's descriptor while that is open, so that a walk costs one look-up for each
directory, however deep it lies, and never follows a symlink.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from executor import tree
from executor.tree import Check

VANISHED: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENODATA, errno.EINVAL, errno.ESTALE})
"""What one hears of an entry that went, or became something else, between its being listed and being looked at."""
THREADS: Final = 3
"""More gain nothing: the interpreter runs one at a time, and what they wait for is the metadata engine."""
_HELD_OPEN: Final = 128
"""Directories kept open for those below them; beyond that they are opened from the root again."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Visit = Callable[[int, bytes], list[bytes]]
"""Does what is to be done with a directory's descriptor and path; the answer names the directories in it."""
Vanished = Callable[[bytes], None]


def walk(root: int, visit: Visit, *, check: Check, vanished: Vanished | None = None) -> None:
    """Visit the tree below the descriptor `root`, its root first, by any thread; parents before what they hold.

    `check` is called before each directory. `vanished` is told the path of one that is no directory any more; without
    it that is an error. Raises the first error of any thread: OSError, what `visit` raises, what `check` raises.
    """
    _Walk(root, visit, check, vanished).run()


class _Open:
    """A directory's descriptor, open until everything below it was opened."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.users = 1


class _Waiting(NamedTuple):
    """A directory that nobody has taken yet; without a parent it is opened from the root."""

    path: bytes
    name: bytes
    parent: _Open | None


@dataclass(slots=True)
class _Walk:
    """The directories that wait, and who takes them; the last that was found is taken first, so that few stay open."""

    root: int
    visit: Visit
    check: Check
    vanished: Vanished | None
    waiting: list[_Waiting] = field(default_factory=list)
    busy: int = 0
    held_open: int = 0
    errors: list[BaseException] = field(default_factory=list)
    turn: threading.Condition = field(default_factory=threading.Condition)

    def run(self) -> None:
        """Until nothing waits. A tree of one directory is not worth a thread."""
        self.waiting.append(_Waiting(b"", b".", None))
        self._one()
        helpers = []
        if len(self.waiting) > 1 and not self.errors:
            helpers = [threading.Thread(target=self._work, daemon=True) for _ in range(THREADS - 1)]
        for helper in helpers:
            helper.start()
        self._work()
        for helper in helpers:
            helper.join()
        for left in self.waiting:
            self._leave(left.parent)
        if self.errors:
            raise self.errors[0]

    def _work(self) -> None:
        while self._one():
            pass

    def _one(self) -> bool:
        """Take one directory; False once there will be none any more."""
        with self.turn:
            while not self.waiting and self.busy and not self.errors:
                self.turn.wait()
            if self.errors or not self.waiting:
                return False
            taken = self.waiting.pop()
            self.busy += 1
        found: list[_Waiting] = []
        try:
            found = self._take(taken)
        except BaseException as error:
            self.errors.append(error)
        finally:
            with self.turn:
                self.waiting.extend(found)
                self.busy -= 1
                self.turn.notify_all()
        return True

    def _take(self, taken: _Waiting) -> list[_Waiting]:
        try:
            self.check()
            fd = self._open(taken)
        except OSError as error:
            if self.vanished is None or not taken.path or error.errno not in VANISHED:
                raise
            self.vanished(taken.path)
            return []
        finally:
            self._leave(taken.parent)
        own = self._keep(fd)
        try:
            names = self.visit(fd, taken.path)
            with self.turn:
                if own is not None:
                    own.users += len(names)
            prefix = taken.path + b"/" if taken.path else b""
            return [_Waiting(prefix + name, name, own) for name in reversed(names)]
        finally:
            if own is None:
                os.close(fd)
            else:
                self._leave(own)

    def _open(self, taken: _Waiting) -> int:
        if taken.parent is not None:
            return os.open(taken.name, _DIRECTORY, dir_fd=taken.parent.fd)
        with tree.open_directory(self.root, taken.path) as fd:
            return os.dup(fd)

    def _keep(self, fd: int) -> _Open | None:
        with self.turn:
            if self.held_open >= _HELD_OPEN:
                return None
            self.held_open += 1
            return _Open(fd)

    def _leave(self, place: _Open | None) -> None:
        if place is None:
            return
        with self.turn:
            place.users -= 1
            if place.users:
                return
            self.held_open -= 1
        os.close(place.fd)

"""Looking at a tree as fast as it goes: every entry's lstat, in several threads (SPEC §7 "Scans").

Each lstat comes right after its name was listed, which refreshes what the mount has in its caches (H2).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from executor import tree
from executor.parallel_walk import VANISHED, walk
from executor.tree import Check
from executor.xattrs import Xattrs, read_xattrs

YOUNG_NS: Final = 100_000_000
"""What changed less than this before a look may change again and show the same times: JuiceFS leaves a directory's
times alone for 100 ms, and a disk's clock ticks every few milliseconds."""


class Seen(NamedTuple):
    """One entry as it was looked at. Size is of regular files only; times are nanoseconds."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    target: bytes
    xattrs: Xattrs
    dev: int
    ino: int
    ctime_ns: int

    @property
    def is_directory(self) -> bool:
        """Whether it is a real directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    def without_times(self) -> Seen:
        """For a directory, whose times on JuiceFS lag; others are what they are."""
        return self._replace(mtime_ns=0, ctime_ns=0) if stat.S_ISDIR(self.mode) else self


Entries = dict[bytes, Seen]


@dataclass(slots=True)
class Survey:
    """What a whole tree looked like: the root, and what each directory holds, by its path from the root (`b""`)."""

    root: Seen
    directories: dict[bytes, Entries]
    began_ns: int
    """By the wall clock of this host, which is also that of its mounts."""
    with_xattrs: bool

    @property
    def entries(self) -> int:
        """How many entries, the root not counted."""
        return sum(map(len, self.directories.values()))

    def is_young(self, seen: Seen) -> bool:
        """Whether it may have changed right after this look and show no sign of it; so may what is of the future."""
        return seen.ctime_ns >= self.began_ns - YOUNG_NS


Receive = Callable[[bytes, Entries], None]


def look(
    root: int, *, xattrs: bool, check: Check = lambda: None, known: Survey | None = None, moving: bool = False
) -> Survey:
    """Look at everything below the descriptor `root`.

    `check` is called at each directory, by any thread. `known` is an earlier look: a symlink that is the same inode as
    then has the same target, which need not be read. `moving`: what vanishes meanwhile is left out. Raises OSError and
    what `check` raises.
    """
    began = time.time_ns()
    found: dict[bytes, Entries] = {}
    own = _walk(root, found.__setitem__, xattrs=xattrs, check=check, known=known, moving=moving)
    return Survey(own, found, began, xattrs)


def changed_since(
    root: int, before: Survey, *, check: Check = lambda: None
) -> tuple[bytes, Seen | None, Seen | None] | None:
    """Look at everything again, and answer with one entry that is not what it was; None if nothing has changed.

    Times of directories are left out: on JuiceFS they lag. Raises OSError and what `check` raises.
    """
    differing: list[tuple[bytes, Seen | None, Seen | None]] = []
    looked: set[bytes] = set()

    def compare(path: bytes, entries: Entries) -> None:
        looked.add(path)
        then = before.directories.get(path, {})
        if entries != then:
            differing.extend(_differing(path, then, entries))

    own = _walk(root, compare, xattrs=before.with_xattrs, check=check, known=before, moving=False)
    if own.without_times() != before.root.without_times():
        return b"", before.root, own
    return min(differing, default=None, key=lambda found: found[0])


def _differing(path: bytes, then: Entries, now: Entries) -> list[tuple[bytes, Seen | None, Seen | None]]:
    found = []
    for name in then.keys() | now.keys():
        old, new = then.get(name), now.get(name)
        if old is None or new is None or old.without_times() != new.without_times():
            found.append((below(path, name), old, new))
    return found


def below(path: bytes, name: bytes) -> bytes:
    """The path of an entry of a directory."""
    return path + b"/" + name if path else name


def _walk(root: int, receive: Receive, *, xattrs: bool, check: Check, known: Survey | None, moving: bool) -> Seen:
    """Call `receive(path, entries)` for each directory, by any thread; the answer is the root's own look."""
    reader = _Reader(xattrs, known, moving)
    with tree.open_directory(root, b"") as own:
        seen = reader.see(own, b".", known.root if known else None)

    def visit(directory: int, path: bytes) -> list[bytes]:
        entries = reader.list(directory, path)
        receive(path, entries)
        return [name for name, seen in entries.items() if seen.is_directory]

    walk(root, visit, check=check, vanished=(lambda path: receive(path, {})) if moving else None)
    return seen


class _Reader:
    """Makes a Seen of a name."""

    def __init__(self, xattrs: bool, known: Survey | None, moving: bool) -> None:
        self._xattrs = xattrs
        self._known = known
        self._moving = moving

    def list(self, directory: int, path: bytes) -> Entries:
        """What a directory holds."""
        then: Mapping[bytes, Seen] = self._known.directories.get(path, {}) if self._known else {}
        found: Entries = {}
        with os.scandir(directory) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                try:
                    found[name] = self.see(directory, name, then.get(name))
                except OSError as error:
                    if not (self._moving and error.errno in VANISHED):
                        raise
        return found

    def see(self, directory: int, name: bytes, then: Seen | None) -> Seen:
        """One entry; `then` is what was seen at its place earlier."""
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        mode = status.st_mode
        regular = stat.S_ISREG(mode)
        return Seen(
            mode,
            status.st_uid,
            status.st_gid,
            status.st_size if regular else 0,
            status.st_mtime_ns,
            self._target(directory, name, status, then) if stat.S_ISLNK(mode) else b"",
            # User attributes live on files and directories only.
            read_xattrs(directory, name) if self._xattrs and (regular or stat.S_ISDIR(mode)) else (),
            status.st_dev,
            status.st_ino,
            status.st_ctime_ns,
        )

    def _target(self, directory: int, name: bytes, status: os.stat_result, then: Seen | None) -> bytes:
        if (
            then is not None
            and (then.dev, then.ino, then.ctime_ns) == (status.st_dev, status.st_ino, status.st_ctime_ns)
            and stat.S_ISLNK(then.mode)
            and self._known is not None
            and not self._known.is_young(then)
        ):
            return then.target
        return os.readlink(name, dir_fd=directory)

"""Walking a tree that somebody else can change (SPEC §2; G16): by descriptors, never through a symlink.

Paths are bytes relative to the tree's root, so that any name and any depth works. A directory is opened component by
component with O_NOFOLLOW: what is swapped for a symlink meanwhile is refused, not followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ALL_POWERFUL: Final = os.geteuid() == 0
_PASSING: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOKS: Final = 100
"""How often a deletion looks again because somebody else, who deletes there too, was faster."""


@dataclass(frozen=True, slots=True)
class Node:
    """One entry: its name, its path from the root, its lstat."""

    name: bytes
    path: bytes
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether it is a real directory."""
        return stat.S_ISDIR(self.status.st_mode)


def is_real_directory(path: Path) -> bool:
    """Whether it is a directory and no symlink to one. Raises OSError if the disk does not say."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextmanager
def open_root(path: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of the tree's root, which must be a real directory. Raises OSError."""
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def open_directory(root: int, path: bytes) -> Iterator[int]:
    """A directory below the root, readable; `b""` is the root itself. Raises OSError."""
    fd = os.open(b".", _DIRECTORY, dir_fd=root) if not path else _descend(root, path)
    try:
        yield fd
    finally:
        os.close(fd)


def _descend(root: int, path: bytes) -> int:
    *passing, last = path.split(b"/")
    at, own = root, False
    try:
        for name in passing:
            below = os.open(name, _PASSING, dir_fd=at)
            if own:
                os.close(at)
            at, own = below, True
        return os.open(last, _DIRECTORY, dir_fd=at)
    finally:
        if own:
            os.close(at)


def list_nodes(directory: int, path: bytes) -> list[Node]:
    """What a directory holds, by name.

    Each lstat right after its name was listed: listing is what refreshes attributes that a mount has cached, and the
    kernel lists in batches, of which only the latest is fresh (H2).
    """
    prefix = path + b"/" if path else b""
    nodes = []
    with os.scandir(directory) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            nodes.append(Node(name, prefix + name, os.stat(name, dir_fd=directory, follow_symlinks=False)))
    nodes.sort(key=lambda node: node.name)
    return nodes


Visit = Callable[[int, bytes, list[Node]], None]
Check = Callable[[], None]


def walk(root: int, visit: Visit) -> None:
    """Call `visit(directory, path, nodes)` for each directory, parents first. Raises OSError."""
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        with open_directory(root, path) as directory:
            nodes = list_nodes(directory, path)
            visit(directory, path, nodes)
        waiting.extend(node.path for node in reversed(nodes) if node.is_directory)


def own(directory: int, name: bytes, uid: int, gid: int) -> None:
    """Give an entry to an owner, if it is not theirs: who is not root may not even ask. Raises OSError."""
    made = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if (made.st_uid, made.st_gid) != (uid, gid):
        os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)


def delete(path: Path, *, check: Check = lambda: None) -> None:
    """Delete whatever lies at the path, never following a symlink; `check` is called at each directory.

    Raises OSError and what `check` raises; what is gone already, or vanishes meanwhile, is no error.
    """
    for _ in range(_LOOKS):
        try:
            _delete_once(path, check)
        except FileNotFoundError:
            check()
        else:
            return
    _delete_once(path, check)


def _delete_once(path: Path, check: Check) -> None:
    if not is_real_directory(path):
        path.unlink(missing_ok=True)
        return
    if not _ALL_POWERFUL:
        path.chmod(0o700)
    with open_root(path) as root:
        _delete_below(root, check)
    path.rmdir()


def _delete_below(root: int, check: Check) -> None:
    directories: list[bytes] = []

    def visit(directory: int, path: bytes, nodes: list[Node]) -> None:
        check()
        directories.extend(node.path for node in nodes if node.is_directory)
        for node in nodes:
            if not node.is_directory:
                _gone(os.unlink, node.name, directory)
            elif not _ALL_POWERFUL:
                os.chmod(node.name, 0o700, dir_fd=directory)  # what is closed to its owner must be opened first

    walk(root, visit)
    for path in reversed(directories):
        parent, _, name = path.rpartition(b"/")
        with open_directory(root, parent) as directory:
            _gone(os.rmdir, name, directory)


def _gone(remove: Callable[..., None], name: bytes, directory: int) -> None:
    try:
        remove(name, dir_fd=directory)
    except FileNotFoundError:
        return

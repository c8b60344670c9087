"""What a tree holds, to compare it with another or with itself later (SPEC §8 "Proof of quiet"; RK-02, RK-03).

A scan sees what a clone keeps (kind, mode, owner, size, time of last change, symlink target, extended attributes) and
what only this tree has (inode, time of last status change), which tells a change that was made to look like none.
Times of directories are left out: on JuiceFS they lag by up to 100 ms. Extended attributes are optional: on JuiceFS
each entry's cost a request to the metadata engine, ten times all the rest, and the command clones them by itself.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from executor import tree
from executor.tree import Check, Node

_NO_XATTRS: Final = (errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES)
_MTIME_BYTES: Final = 16
_KINDS: Final = {False: "sha256", True: "sha256-xattrs"}


@dataclass(frozen=True, slots=True)
class Kept:
    """What a clone must have too."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    target: bytes
    xattrs: tuple[tuple[str, bytes], ...]

    def encode(self) -> bytes:
        """For the digest: every field with its length, so that no two entries run into one another."""
        # A file may be dated beyond what 64 bits of nanoseconds can say (the year 2262).
        mtime = self.mtime_ns.to_bytes(_MTIME_BYTES, "little", signed=True)
        parts = [struct.pack("<IIIq", self.mode, self.uid, self.gid, self.size), mtime, _sized(self.target)]
        parts += [_sized(os.fsencode(name)) + _sized(value) for name, value in self.xattrs]
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A scan. `identity` is (device, inode, ctime in ns, 0 for directories) by path."""

    kept: dict[bytes, Kept]
    with_xattrs: bool
    identity: dict[bytes, tuple[int, int, int]]

    @property
    def entries(self) -> int:
        """Entries of the tree, its root not counted."""
        return len(self.kept) - 1

    @property
    def bytes(self) -> int:
        """Sum of the sizes of its regular files."""
        return sum(entry.size for entry in self.kept.values() if stat.S_ISREG(entry.mode))

    @property
    def digest(self) -> str:
        """SHA-256 over what was scanned, in the order of the paths; it begins with the kind of scan."""
        digest = hashlib.sha256(b"wvs-manifest-1\0")
        for path in sorted(self.kept):
            digest.update(_sized(path))
            digest.update(_sized(self.kept[path].encode()))
        return f"{_KINDS[self.with_xattrs]}:{digest.hexdigest()}"

    def is_clone_of(self, other: Manifest) -> str | None:
        """None if both keep the same; else the first difference, for people."""
        return _difference(other.kept, self.kept)

    def unchanged_since(self, before: Manifest) -> str | None:
        """None if the same tree has not changed since the earlier scan; else the first difference, for people."""
        return _difference(before.kept, self.kept) or _difference(before.identity, self.identity)


def digest_has_xattrs(digest: str) -> bool:
    """Whether a digest was made of a scan with extended attributes: only a scan of the same kind compares with it."""
    return digest.partition(":")[0] == _KINDS[True]


def scan(root: str | os.PathLike[str], *, xattrs: bool, check: Check = lambda: None) -> Manifest:
    """Look at every entry of the tree. `check` is called at each directory. Raises OSError and what `check` raises."""
    kept: dict[bytes, Kept] = {}
    identity: dict[bytes, tuple[int, int, int]] = {}

    def add(directory: int, node: Node) -> None:
        kept[node.path] = _keep(directory, node, xattrs=xattrs)
        status = node.status
        changed = 0 if node.is_directory else status.st_ctime_ns
        identity[node.path] = (status.st_dev, status.st_ino, changed)

    def visit(directory: int, path: bytes, nodes: list[Node]) -> None:
        check()
        if not path:
            add(directory, Node(b".", b"", os.fstat(directory)))
        for node in nodes:
            add(directory, node)

    with tree.open_root(root) as fd:
        tree.walk(fd, visit)
    return Manifest(kept, xattrs, identity)


def _keep(directory: int, node: Node, *, xattrs: bool) -> Kept:
    status, mode = node.status, node.status.st_mode
    is_link = stat.S_ISLNK(mode)
    return Kept(
        mode=mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if stat.S_ISREG(mode) else 0,
        mtime_ns=0 if node.is_directory else status.st_mtime_ns,
        target=os.readlink(node.name, dir_fd=directory) if is_link else b"",
        # User attributes live on files and directories only.
        xattrs=read_xattrs(directory, node.name) if xattrs and (node.is_directory or stat.S_ISREG(mode)) else (),
    )


def place_of(directory: int, name: bytes) -> bytes:
    """A path for calls that know no directory descriptor. The name itself is not followed by the l… calls."""
    return b"/proc/self/fd/%d/%s" % (directory, name)


def read_xattrs(directory: int, name: bytes) -> tuple[tuple[str, bytes], ...]:
    """Extended attributes, by name; none where the file system has none."""
    place = place_of(directory, name)
    try:
        names = os.listxattr(place, follow_symlinks=False)
        return tuple((key, os.getxattr(place, key, follow_symlinks=False)) for key in sorted(names))
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return ()
        raise


def _sized(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def _difference(before: Mapping[bytes, object], after: Mapping[bytes, object]) -> str | None:
    if before == after:
        return None
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            return f"{_text(path)} is gone"
        if path not in before:
            return f"{_text(path)} is new"
        if before[path] != after[path]:
            return f"{_text(path)} differs: {before[path]} became {after[path]}"
    return None


def _text(path: bytes) -> str:
    return Path(os.fsdecode(path)).as_posix().encode("utf-8", "backslashreplace").decode()

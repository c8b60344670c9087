"""What of a tree its clone must keep, and the digest of it (SPEC §8 "Proof of quiet"; RK-02, RK-03).

That is kind, mode, owner, size, time of last change, symlink target and extended attributes of each entry; whether a
tree has changed itself is told by survey.changed_since(), which looks at inodes and times of status change as well.
Times of directories are left out: on JuiceFS they lag by up to 100 ms. Extended attributes are optional: on JuiceFS
each entry's cost a request to the metadata engine, ten times all the rest, and the command clones them by itself.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from executor import survey, tree
from executor.survey import Seen, Survey
from executor.tree import Check
from executor.xattrs import Xattrs

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
    xattrs: Xattrs

    def encode(self) -> bytes:
        """For the digest: every field with its length, so that no two entries run into one another."""
        # A file may be dated beyond what 64 bits of nanoseconds can say (the year 2262).
        mtime = self.mtime_ns.to_bytes(_MTIME_BYTES, "little", signed=True)
        parts = [struct.pack("<IIIq", self.mode, self.uid, self.gid, self.size), mtime, _sized(self.target)]
        parts += [_sized(os.fsencode(name)) + _sized(value) for name, value in self.xattrs]
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a clone must keep of each path; `b""` is the root."""

    kept: dict[bytes, Kept]
    with_xattrs: bool

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


def digest_has_xattrs(digest: str) -> bool:
    """Whether a digest was made of a scan with extended attributes: only a scan of the same kind compares with it."""
    return digest.partition(":")[0] == _KINDS[True]


def scan(root: str | os.PathLike[str], *, xattrs: bool, check: Check = lambda: None) -> Manifest:
    """Look at every entry of the tree. `check` is called at each directory. Raises OSError and what `check` raises."""
    with tree.open_root(root) as fd:
        return of_survey(survey.look(fd, xattrs=xattrs, check=check))


def of_survey(found: Survey) -> Manifest:
    """What was looked at, as a manifest."""
    kept = {b"": keep(found.root)}
    for path, entries in found.directories.items():
        kept |= {survey.below(path, name): keep(seen) for name, seen in entries.items()}
    return Manifest(kept, found.with_xattrs)


def keep(seen: Seen) -> Kept:
    """What a clone of the entry must have."""
    mtime = 0 if seen.is_directory else seen.mtime_ns
    return Kept(seen.mode, seen.uid, seen.gid, seen.size, mtime, seen.target, seen.xattrs)


def change(path: bytes, before: Seen | None, after: Seen | None) -> str:
    """What became of an entry, for people."""
    if after is None:
        return f"{text(path)} is gone"
    if before is None:
        return f"{text(path)} is new"
    return f"{text(path)} differs: {before} became {after}"


def _sized(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def _difference(before: Mapping[bytes, object], after: Mapping[bytes, object]) -> str | None:
    if before == after:
        return None
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            return f"{text(path)} is gone"
        if path not in before:
            return f"{text(path)} is new"
        if before[path] != after[path]:
            return f"{text(path)} differs: {before[path]} became {after[path]}"
    return None


def text(path: bytes) -> str:
    """A path for people, whatever bytes it is of."""
    return Path(os.fsdecode(path)).as_posix().encode("utf-8", "backslashreplace").decode()

"""The descriptor of a snapshot (SPEC §2): written last, so present and valid means that the snapshot is complete."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, get_type_hints

from executor import tree
from executor.layout import snapshot_descriptor, snapshot_tree

VERSION: Final = 1
WVS_VERSION: Final = "0.1.0"
_LIMIT: Final = 64 * 1024
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a snapshot says of itself. `bytes` is the sum of the sizes of its regular files."""

    version: int
    wvs_version: str
    snapshot_id: str
    wsid: str
    task_id: str
    fence: int
    created_at: str
    message: str
    entries: int
    bytes: int
    source_live_id: str
    manifest_digest: str
    clone_driver: str


def write(snapshot: Path, descriptor: Descriptor) -> None:
    """Write it below a snapshot's staging and make it durable: temporary file, fsync, rename, fsync. Raises OSError."""
    path = snapshot_descriptor(snapshot)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(asdict(descriptor), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    fsync_directory(path.parent)


def read(snapshot: Path, *, wsid: str, snapshot_id: str) -> Descriptor | None:
    """The descriptor of a complete snapshot. None for anything else: missing, not whole, or of another place (G10).

    Raises OSError if the disk does not say: a snapshot must never count as missing because a mount is dead.
    """
    path = snapshot_descriptor(snapshot)
    if not all(map(tree.is_real_directory, (snapshot, path.parent, snapshot_tree(snapshot)))):
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT:
            return None
        text = file.read(_LIMIT + 1)
    found = _parse(text)
    if found is None or found.version != VERSION or (found.wsid, found.snapshot_id) != (wsid, snapshot_id):
        return None
    return found


def _parse(text: bytes) -> Descriptor | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    types = get_type_hints(Descriptor)
    if not isinstance(value, dict) or set(value) != {field.name for field in fields(Descriptor)}:
        return None
    if any(type(value[name]) is not kind for name, kind in types.items()):
        return None
    return Descriptor(**value)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""Trees with everything in them that a clone must keep, and a portrait to compare two of them byte by byte.

The portrait is made with other means than the executor's own manifest, so that the two check each other.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

LONG = b"\xc3\xa4" * 127 + b"x"  # 255 bytes, 128 characters
NAMES = (
    b"plain",
    "größe-数据-🌳".encode(),
    b" leading and trailing ",
    b"new\nline",
    b"not-utf8-\xff\xfe",
    LONG,
    b"-rf",
    b"*",
)
BULK = b"bulk-"
WHEN = 1_600_000_000_123_456_000
"""Nanoseconds; JuiceFS keeps microseconds of some of them only, and a portrait must be equal to the last one."""


class Face(NamedTuple):
    """What can be seen of one entry."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    target: bytes
    content: str
    xattrs: tuple[tuple[str, bytes], ...]


def portrait(root: Path) -> dict[bytes, Face]:
    """Every entry below the root, the root itself as `b""`; times of directories left out.

    Extended attributes are looked at everywhere but in the bulk, where there are none: they take long on JuiceFS.
    """
    found: dict[bytes, Face] = {}
    base = os.fsencode(root)
    for path, directories, files, fd in os.fwalk(base):
        below = path[len(base) + 1 :]
        if not below:
            found[b""] = _face(b".", fd, attributes=True)
        for name in directories + files:
            found[os.path.join(below, name)] = _face(name, fd, attributes=not below.startswith(BULK))
    return found


def _face(name: bytes, directory: int, *, attributes: bool) -> Face:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    kind = stat.S_IFMT(status.st_mode)
    place = b"/proc/self/fd/%d/%s" % (directory, name)
    regular, link = kind == stat.S_IFREG, kind == stat.S_IFLNK
    return Face(
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if regular else 0,
        mtime_ns=0 if kind == stat.S_IFDIR else status.st_mtime_ns,
        target=os.readlink(name, dir_fd=directory) if link else b"",
        content=_content(name, directory) if regular and status.st_size else "",
        xattrs=_xattrs(place) if attributes and (regular or kind == stat.S_IFDIR) else (),
    )


def _content(name: bytes, directory: int) -> str:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
    with os.fdopen(fd, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _xattrs(place: bytes) -> tuple[tuple[str, bytes], ...]:
    return tuple((key, os.getxattr(place, key)) for key in sorted(os.listxattr(place)))


def plant_small(root: Path) -> None:
    """A small project: text, binary, symlinks, odd names, an empty directory, a script."""
    (root / "src").mkdir()
    (root / "src" / "main.py").write_text("print('one')\n")
    (root / "data.bin").write_bytes(bytes(range(256)) * 40)
    (root / "empty").mkdir()
    (root / "to-src").symlink_to("src")
    (root / "dangling").symlink_to("/nowhere/at/all")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "größe 数据").write_text("x")


def plant_odd(root: Path, *, as_root: bool) -> None:
    """Every oddity once: names, kinds, sizes, modes, times, attributes, depth; owners where we may give them."""
    for name in NAMES:
        path = root / os.fsdecode(name)
        path.write_bytes(name * 3)
        os.utime(path, ns=(WHEN, WHEN))
    (root / os.fsdecode(b"d-" + LONG[:252])).mkdir()
    (root / "empty").touch()
    _plant_sparse(root)
    _plant_modes(root)
    link = root / "link-to-bytes"
    link.symlink_to(os.fsdecode(b"target-\xff"))
    os.utime(link, ns=(WHEN, WHEN), follow_symlinks=False)
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "hard").hardlink_to(root / "plain")
    os.mkfifo(root / "pipe", 0o640)
    os.setxattr(root / "plain", "user.origin", b"\0binary\xff")
    os.setxattr(root / "dir-700", "user.note", b"of a directory")
    _plant_deep(root, levels=20)
    if as_root:
        _plant_owners(root)


def _plant_modes(root: Path) -> None:
    for mode in (0o400, 0o600, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o6711):
        path = root / f"mode-{mode:o}"
        path.write_text("m")
        path.chmod(mode)
    for mode in (0o500, 0o700, 0o1777, 0o2775):
        directory = root / f"dir-{mode:o}"
        directory.mkdir()
        (directory / "inside").write_text("i")
        directory.chmod(mode)


def plant_many(root: Path, *, entries: int) -> None:
    """The bulk: that many entries, 100 to a directory; of its files and symlinks one in ten has content."""
    for number in range(entries // 100):
        directory = root / f"{BULK.decode()}{number:04}"
        directory.mkdir()
        for index in range(10):
            (directory / f"text-{index:02}").write_bytes(b"%d/%d\n" % (number, index))
            (directory / f"link-{index:02}").symlink_to(f"text-{index:02}")
        for index in range(79):
            os.mknod(directory / f"empty-{index:02}", stat.S_IFREG | 0o640)


def _plant_sparse(root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(64 * 1024 * 1024)
        file.seek(32 * 1024 * 1024)
        file.write(b"in the middle")


def _plant_deep(root: Path, *, levels: int) -> None:
    """Deeper than any path may be long: only descriptors get there."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    name = b"deep" + b"-" * 246
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    file = os.open(b"bottom", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd)
    os.write(file, b"found")
    os.close(file)
    os.close(fd)


def _plant_owners(root: Path) -> None:
    (root / "secret").write_text("s")
    (root / "secret").chmod(0)
    (root / "closed").mkdir()
    (root / "closed" / "in").write_text("c")
    os.chown(root / "closed", 4321, 8765)
    (root / "closed").chmod(0)
    (root / "others").write_text("o")
    os.chown(root / "others", 1234, 5678)
    (root / "others").chmod(0o4711)  # a change of owner took the bit
    (root / "others-link").symlink_to("x")
    os.chown(root / "others-link", 1234, 5678, follow_symlinks=False)

"""A small project as an agent would write it, ways to wreck it, and an exact description of a tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Final

_BINARY: Final = bytes(range(256)) * 1024
_TEXT: Final = {
    "README.md": "# A small project\n",
    "src/main.py": "print('hello')\n",
    "src/paket/naïve-名前.txt": "unicode\n",
    "data/with space and\nnewline": "odd\n",
    "data/-rf": "a name like an option\n",
    "data/empty-file": "",
    "data/" + "n" * 255: "the longest name\n",
}


def write_project(root: Path) -> None:
    """Text, binary, symlinks (a dangling one too), odd names, an empty directory, a script with mode 0755."""
    for name, text in _TEXT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / os.fsdecode(b"data/not-utf-8-\xff\xfe")).write_bytes(b"bytes are names too\n")
    (root / "data" / "model.bin").write_bytes(_BINARY)
    with (root / "data" / "sparse.bin").open("wb") as sparse:
        sparse.truncate(4 << 20)
    (root / "empty-directory").mkdir()
    script = root / "run.sh"
    script.write_text("#!/bin/sh\necho running\n")
    script.chmod(0o755)
    (root / "secret").write_text("mine alone\n")
    (root / "secret").chmod(0o600)
    (root / "main").symlink_to("src/main.py")
    (root / "nowhere").symlink_to("../does/not/exist")


def wreck(root: Path) -> None:
    """What a bad plan does to a project: delete, overwrite, change modes, turn files into directories."""
    shutil.rmtree(root / "src")
    (root / "data" / "model.bin").write_bytes(b"\0")
    (root / "run.sh").chmod(0o644)
    (root / "main").unlink()
    (root / "main").mkdir()
    (root / "main" / "junk").write_text("junk\n")
    (root / "empty-directory").rmdir()
    (root / "nowhere").unlink()
    (root / "nowhere").symlink_to("README.md")


def describe(root: Path) -> dict[str, str]:
    """Every entry below `root` with its type, mode, owner and content: equal descriptions are equal trees."""
    found = {".": _entry(root)}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(directory) / name
            found[str(path.relative_to(root))] = _entry(path)
    return found


def _entry(path: Path) -> str:
    status = path.lstat()
    base = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return f"{base} -> {path.readlink()}"
    if stat.S_ISREG(status.st_mode):
        return f"{base} {status.st_size} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return base


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The entries that differ between two descriptions."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))

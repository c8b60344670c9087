"""Directories that the account of a server can reach, and that nobody else could have prepared for us."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wvs_project.stack.accounts import Account
from wvs_project.stack.errors import StackError

_FALLBACK: Final = Path("/var/tmp")  # noqa: S108  (own_directory refuses a directory that is not ours)
PASSABLE: Final = 0o711
PRIVATE: Final = 0o700


def own_directory(path: Path, mode: int = PASSABLE) -> Path:
    """Make `path` a directory of ours with `mode`. Raises StackError if it is a link or another account's."""
    path.mkdir(parents=True, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise StackError(f"{path} is not a directory of uid {os.geteuid()}: refusing to use it")
    path.chmod(mode)
    return path


def place_of(account: Account | None, state: Path) -> Path:
    """A directory that `account` can enter: `state` itself, or one below /var/tmp that belongs to `state` alone.

    Only says where; `own_directory` makes it.
    """
    if account is None or account.can_enter(state):
        return state
    key = hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:16]
    return _FALLBACK / f"wvs-stack-{key}"


def reachable_copy(account: Account | None, base: Path, parts: Sequence[str], copy: Path) -> Path:
    """`base`, or `copy` with the `parts` of it when `account` cannot enter one. A copy is complete or not there."""
    if account is None or all(account.can_enter(base / part) for part in parts):
        return base
    if not copy.exists():
        half = copy.with_name(f".{copy.name}.half")
        shutil.rmtree(half, ignore_errors=True)
        for part in parts:
            shutil.copytree(base / part, half / part, symlinks=True)
        _open_to_all(half)
        half.rename(copy)
    return copy


def _open_to_all(root: Path) -> None:
    """Readable and, where its owner may, executable for everybody: a strict umask may have closed it."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if mode & stat.S_IXUSR else 0o044))

"""Directories that the account of a server can reach, and that nobody else could have prepared for us."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
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


def reachable_copy(account: Account | None, source: Path, place: Path) -> Path:
    """`source`, or a copy of it below `place` when `account` cannot enter it. A copy is complete or not there."""
    if account is None or account.can_enter(source):
        return source
    copy = place / source.name
    if not copy.exists():
        half = place / f".{source.name}.half"
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(source, half, symlinks=True)
        half.chmod(0o755)
        half.rename(copy)
    return copy

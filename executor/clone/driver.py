"""What every clone driver does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from executor.contract import ProgressSink, StopSignal
from executor.fence import Held
from executor.tree import Check

Fill = Callable[[int, int, int, Check], None]
"""Brings the bytes of a file: from a descriptor, to a new one, so many; `check` now and then. Raises OSError."""


class CloneDriver(Protocol):
    """Copies a tree exactly as it is: owner, mode, times of files, extended attributes, symlinks as they are (G18).

    Hard links become separate files.
    """

    name: str
    copies_xattrs: bool
    """Whether it copies extended attributes one by one, so that a scan should look at them too."""

    def clone(self, source: Path, destination: Path, *, held: Held, stop: StopSignal, progress: ProgressSink) -> None:
        """Make `destination`, which must not exist, a durable copy of `source`.

        Raises ExecutorFault (CLONE_FAILED, NO_SPACE, FENCED), Stopped, OSError.
        """
        ...

    @property
    def clones_trees(self) -> bool:
        """Whether a clone costs less than its entries one by one: by one command, not by a walk."""
        ...

    def fill(self, source: int, destination: int, size: int, check: Check) -> None:
        """The bytes of one file into a new one, shared where the volume can. Raises OSError."""
        ...

    def xattr_changes(self) -> object | None:
        """Equal to an earlier answer only if nobody has changed extended attributes through this mount since then.

        Always equal where a change touches the ctime; None where it cannot be known.
        """
        ...

    def delete(self, path: Path, *, stop: StopSignal, check: Check, lock_fd: int | None = None) -> None:
        """Delete a tree, past any trash; what is gone already is no error. Raises OSError and what `check` raises.

        `check` is called now and then, and when `stop` is readable. `lock_fd` is the workspace's lock where the caller
        holds it: a child process then keeps it for as long as it lives.
        """
        ...

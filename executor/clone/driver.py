"""What every clone driver does."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from executor.contract import ProgressSink, StopSignal
from executor.fence import Held
from executor.tree import Check


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

    def delete(self, path: Path, *, stop: StopSignal, check: Check, lock_fd: int | None = None) -> None:
        """Delete a tree, past any trash; what is gone already is no error. Raises OSError and what `check` raises.

        `check` is called now and then, and when `stop` is readable. `lock_fd` is the workspace's lock where the caller
        holds it: a child process then keeps it for as long as it lives.
        """
        ...

"""Clones by `juicefs clone`: metadata only, in the mount process (SPEC §2)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import structlog

from executor import child, tree
from executor.child import ChildError
from executor.clone.copy import CANNOT, copy_data
from executor.contract import ExecutorFault, FaultReason, Progress, ProgressSink, StopSignal
from executor.faults import FULL
from executor.fence import Held
from executor.tree import Check

_log = structlog.get_logger(__name__)
_STARTED: Final = "juicefs_process_start_time_seconds"
_COUNTERS: Final = ("juicefs_fuse_ops_total_setxattr", "juicefs_fuse_ops_total_removexattr", _STARTED)
_FULL_WORDS: Final = ("no space left", "quota exceeded", "disk quota")


class JuiceFSDriver:
    """The production driver."""

    name = "juicefs"
    copies_xattrs = False
    clones_trees = True

    def __init__(self, program: Path, threads: int, mount: Path) -> None:
        self._program = program
        self._threads = threads
        self._mount = mount

    def clone(self, source: Path, destination: Path, *, held: Held, stop: StopSignal, progress: ProgressSink) -> None:
        """The command's exit code is 1 for every error, so what can be told apart is looked at before and after."""
        if os.path.lexists(destination):
            raise ExecutorFault(FaultReason.CLONE_FAILED, f"{destination} exists already")
        progress(Progress("clone"))
        argv: list[str | Path] = [self._program, "clone", "-p", "--threads", str(self._threads), source, destination]
        try:
            child.run(argv, stop=stop, check=held.check, lock_fd=held.lock_fd)
        except ChildError as error:
            full = _is_full(destination.parent) or any(word in str(error).lower() for word in _FULL_WORDS)
            reason = FaultReason.NO_SPACE if full else FaultReason.CLONE_FAILED
            raise ExecutorFault(reason, str(error)) from None

    def fill(self, source: int, destination: int, size: int, check: Check) -> None:
        """copy_file_range, which copies metadata only, holes and all."""
        done = 0
        while done < size:
            check()
            try:
                copied = os.copy_file_range(source, destination, size - done, done, done)
            except OSError as error:
                if done or error.errno not in CANNOT:
                    raise
                copy_data(source, destination, size, check)
                return
            if copied == 0:
                return  # it shrank meanwhile: whoever compares will see it
            done += copied

    def xattr_changes(self) -> object | None:
        """By the mount's own counters: a change of attributes does not touch the ctime here."""
        try:
            with (self._mount / ".stats").open(encoding="utf-8") as file:
                found = dict(line.split()[:2] for line in file if line.startswith(_COUNTERS))
        except (OSError, ValueError):
            return None
        # Without the time of its start a mount that was started anew could not be told from one that nobody used.
        return found if _STARTED in found else None

    def delete(self, path: Path, *, stop: StopSignal, check: Check, lock_fd: int | None = None) -> None:
        """By `juicefs rmr`, several times as fast as one name after the other, which is the way out if it fails."""
        argv: list[str | Path] = [self._program, "rmr", "--skip-trash", path]
        try:
            child.run(argv, stop=stop, check=check, lock_fd=lock_fd)
        except ChildError as error:
            _log.warning("delete.slow", error=str(error))
            tree.delete(path, check=check)


def _is_full(directory: Path) -> bool:
    """Whether not even a small file can be written there."""
    probe = directory / "space.probe"
    try:
        with probe.open("xb") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in FULL
    finally:
        probe.unlink(missing_ok=True)
    return False

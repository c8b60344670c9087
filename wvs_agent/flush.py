"""Flushing what other processes have open for writing, through /proc (SPEC §8; H1)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from wvs_agent import processes, protocol
from wvs_agent.descriptors import FileSystems, descriptors, open_for_writing
from wvs_agent.handles import shared_writable_mappings
from wvs_agent.processes import PROC, Process
from wvs_agent.refusal import FreezeRefusedError

_KCMP: Final = {"x86_64": 312, "aarch64": 272, "riscv64": 272}
_KCMP_FILES: Final = 2
_PIDFD_GETFD: Final = 438
_OPEN: Final = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC

FileKey = tuple[int, int]


class NotFlushedError(FreezeRefusedError):
    """Something that is open for writing could not be flushed: a snapshot would lack its last bytes."""


def flush(tree: Iterable[Process], root: Path, until: float) -> int:
    """fsync each regular file that a process of `tree` can write to on the file system of `root`; how many it was.

    Each once, however many have it open: fsync by one descriptor writes back what came through all. Files are opened
    anew, for writing, since a FUSE client flushes nothing for a reader. Deleted files are left out: they are
    in no tree. Of files on other file systems nothing is asked: their servers may never answer.
    Raises NotFlushedError, also when protocol.clock() has come to `until`; OSError where there is no `root`.
    """
    flushing = _Flush(root, until)
    for process in tree:
        try:
            flushing.process(process)
        except OSError as error:
            if not processes.is_dead(process):
                name = f"process {process.pid} ({processes.name_of(process.pid)})"
                raise NotFlushedError(f"what {name} has open cannot be flushed: {error}") from error
    return len(flushing.done)


class _Flush:
    def __init__(self, root: Path, until: float) -> None:
        self.done: Final[set[FileKey]] = set()
        self._device = root.stat().st_dev
        self._mounts = FileSystems(root)
        self._until = until

    def process(self, process: Process) -> None:
        for table in _file_tables(process):
            self._descriptors(process, table)
        self._mappings(process)

    def _descriptors(self, process: Process, table: Path) -> None:
        for fd in list(descriptors(table)):
            with contextlib.suppress(FileNotFoundError):
                # Before any stat(): that of a file on a mount that does not answer would never come back.
                if open_for_writing(table, fd) and self._mounts.may_hold(table, fd):
                    self._file(table / "fd" / str(fd), process, fd)

    def _mappings(self, process: Process) -> None:
        """What is mapped shared and writable though its descriptor may be closed."""
        base = PROC / str(process.pid)
        for name in shared_writable_mappings(base, self._device):
            # By the root directory of that process, which may be another one than ours. A deleted file is not found.
            with contextlib.suppress(FileNotFoundError):
                self._file(base / "root" / os.fsdecode(name).lstrip("/"))

    def _file(self, place: Path, owner: Process | None = None, fd: int = -1) -> None:
        status = place.stat()
        key = (status.st_dev, status.st_ino)
        is_ours = status.st_dev == self._device and stat.S_ISREG(status.st_mode) and status.st_nlink > 0
        if not is_ours or key in self.done:
            return
        if protocol.clock() >= self._until:
            raise NotFlushedError("flushing takes too long for the lease")
        _fsync(place, owner, fd)
        self.done.add(key)


def _file_tables(process: Process) -> Iterator[Path]:
    """One thread's directory in /proc for each table of descriptors in the process; mostly there is one."""
    tasks = PROC / str(process.pid) / "task"
    first: int | None = None
    for tid, state in processes.task_states(process.pid).items():
        if state in processes.DEAD:
            continue  # its table is gone; that of the other threads is not
        if first is None:
            first = tid
        elif _same_table(first, tid):
            continue
        yield tasks / str(tid)


def _fsync(place: Path, owner: Process | None, fd: int) -> None:
    try:
        ours = os.open(place, _OPEN)
    except PermissionError:
        if owner is None:
            raise
        ours = _borrow(owner.pid, fd)  # open for writing, and its mode forbids it by now
    try:
        os.fsync(ours)
    finally:
        os.close(ours)


def _borrow(pid: int, fd: int) -> int:
    """That very descriptor of another process. Raises OSError."""
    handle = os.pidfd_open(pid)
    try:
        ours = _syscall(_PIDFD_GETFD, handle, fd, 0)
    finally:
        os.close(handle)
    if ours < 0:
        raise PermissionError(errno.EACCES, "its descriptor may not be used")
    return ours


def _same_table(one: int, other: int) -> bool:
    """Whether two threads have one table of descriptors; False when the kernel does not say: then both are read."""
    number = _KCMP.get(os.uname().machine)
    return number is not None and _syscall(number, one, other, _KCMP_FILES, 0, 0) == 0


def _syscall(number: int, *arguments: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    answer: int = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(each) for each in arguments))
    return answer

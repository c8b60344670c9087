"""Clones on any file system, by copying, or by sharing blocks where the file system can (SPEC §2).

Everything is opened below its directory's descriptor without following symlinks: an agent that lies about standing
still can spoil its own snapshot, which the proof of quiet finds, but not make us copy what lies elsewhere (G16).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from executor import tree
from executor.clone.driver import Fill
from executor.contract import ExecutorFault, FaultReason, Progress, ProgressSink, StopSignal
from executor.fence import Held
from executor.tree import Check, Node
from executor.xattrs import place_of, read_xattrs

FICLONE: Final = 0x40049409
CANNOT: Final = frozenset({errno.EINVAL, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.ETXTBSY})
_CHUNK: Final = 16 * 1024 * 1024
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def copy_data(source: int, destination: int, size: int, check: Check) -> None:
    """Copy the bytes of a file and keep its holes; `check` at each piece, so that a stop need not wait for the end."""
    os.ftruncate(destination, size)
    start = _next(source, 0, os.SEEK_DATA)
    while start is not None and start < size:
        end = _next(source, start, os.SEEK_HOLE) or size
        _copy_range(source, destination, start, min(end, size), check)
        start = _next(source, end, os.SEEK_DATA)


def share_data(source: int, destination: int, size: int, check: Check) -> None:
    """Share the blocks (FICLONE); a file that cannot share them, as one without copy-on-write, is copied."""
    try:
        fcntl.ioctl(destination, FICLONE, source)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
        copy_data(source, destination, size, check)


def _next(fd: int, offset: int, whence: int) -> int | None:
    try:
        return os.lseek(fd, offset, whence)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def _copy_range(source: int, destination: int, start: int, end: int, check: Check) -> None:
    while start < end:
        check()
        copied = _copy_piece(source, destination, start, min(end - start, _CHUNK))
        if copied == 0:
            return  # it shrank meanwhile: whoever compares will see it
        start += copied


def _copy_piece(source: int, destination: int, start: int, size: int) -> int:
    try:
        return os.copy_file_range(source, destination, size, start, start)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
        return os.pwrite(destination, os.pread(source, size, start), start)


class CopyDriver:
    """One tree copier; `fill` says how the bytes of a file get there."""

    copies_xattrs = True
    clones_trees = False

    def __init__(self, name: str, fill: Fill) -> None:
        self.name = name
        self._fill = fill

    def fill(self, source: int, destination: int, size: int, check: Check) -> None:
        """See driver."""
        self._fill(source, destination, size, check)

    def xattr_changes(self) -> object | None:
        """They touch the ctime on every file system but JuiceFS."""
        return ()

    def clone(self, source: Path, destination: Path, *, held: Held, stop: StopSignal, progress: ProgressSink) -> None:
        """Directories get their times and modes last, children first."""
        done = 0
        directories: list[Node] = []

        def visit(directory: int, path: bytes, nodes: list[Node]) -> None:
            nonlocal done
            with tree.open_directory(target, path) as into:
                for node in nodes:
                    held.check()
                    self._copy_node(directory, into, node, held.check)
            directories.extend(node for node in nodes if node.is_directory)
            done += len(nodes)
            progress(Progress("clone", entries_done=done))

        destination.mkdir(mode=0o700)
        with tree.open_root(source) as origin, tree.open_root(destination) as target:
            tree.walk(origin, visit)
            for node in reversed(directories):
                parent = node.path.rpartition(b"/")[0]
                with tree.open_directory(origin, parent) as directory, tree.open_directory(target, parent) as into:
                    _finish(directory, into, node)
            _finish(origin, target, Node(b".", b"", os.fstat(origin)))
            flush(target)

    def delete(self, path: Path, *, stop: StopSignal, check: Check, lock_fd: int | None = None) -> None:
        """One name after the other."""
        tree.delete(path, check=check)

    def _copy_node(self, directory: int, into: int, node: Node, check: Check) -> None:
        mode = node.status.st_mode
        if stat.S_ISDIR(mode):
            os.mkdir(node.name, 0o700, dir_fd=into)
        elif stat.S_ISREG(mode):
            self._copy_file(directory, into, node, check)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(node.name, dir_fd=directory), node.name, dir_fd=into)
            tree.own(into, node.name, node.status.st_uid, node.status.st_gid)
            _date(into, node)
        else:
            # FIFOs and sockets; devices where we may make them.
            os.mknod(node.name, mode, node.status.st_rdev, dir_fd=into)
            _finish(directory, into, node)

    def _copy_file(self, directory: int, into: int, node: Node, check: Check) -> None:
        source = os.open(node.name, _READ, dir_fd=directory)
        try:
            status = os.fstat(source)
            if not stat.S_ISREG(status.st_mode) or status.st_ino != node.status.st_ino:
                raise ExecutorFault(FaultReason.QUIESCE_VIOLATED, f"{os.fsdecode(node.path)!r} was replaced meanwhile")
            destination = os.open(node.name, _WRITE, 0o600, dir_fd=into)
            try:
                self._fill(source, destination, status.st_size, check)
            finally:
                os.close(destination)
        finally:
            os.close(source)
        _finish(directory, into, node)


def _finish(directory: int, into: int, node: Node) -> None:
    """Owner first (a change clears setuid and capabilities), the mode after what it may forbid, times last."""
    tree.own(into, node.name, node.status.st_uid, node.status.st_gid)
    if node.is_directory or stat.S_ISREG(node.status.st_mode):
        for key, value in read_xattrs(directory, node.name):
            os.setxattr(place_of(into, node.name), key, value, follow_symlinks=False)
    os.chmod(node.name, stat.S_IMODE(node.status.st_mode), dir_fd=into)
    _date(into, node)


def _date(into: int, node: Node) -> None:
    times = (node.status.st_atime_ns, node.status.st_mtime_ns)
    os.utime(node.name, ns=times, dir_fd=into, follow_symlinks=False)


def flush(root: int) -> None:
    """Everything of that file system to disk: one call instead of an fsync for each file."""
    if _LIBC.syncfs(root) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def reflink_works(directory: Path) -> bool:
    """Whether two files in that directory can share blocks."""
    try:
        # Without names of their own: another executor may ask the same at this moment.
        with TemporaryFile(dir=directory) as source, TemporaryFile(dir=directory) as destination:
            source.write(b"x" * 4096)
            source.flush()
            fcntl.ioctl(destination.fileno(), FICLONE, source.fileno())
    except OSError:
        return False
    return True

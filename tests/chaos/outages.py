"""Faults of servers, of the network and of the volume. What they start dies with the thread that asked for it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import redis

from tests.chaos.base import Base
from tests.chaos.proxy import TcpProxy
from wvs_project.stack.juicefs import juicefs_program

BALLAST_ENTRIES: Final = 400
BALLAST_PARTS: Final = 4
_MOST_BALLAST: Final = 60
FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_JUICEFS_SECONDS: Final = 60.0


class Outages:
    """What can happen around a fleet. Each method is one fault; True if it could be done."""

    def __init__(self, base: Base, rng: Random, stopping: threading.Event) -> None:
        self._base = base
        self._rng = rng
        self._stopping = stopping
        self.mount_kills = 0

    def catalogue(self) -> list[str]:
        """The names of the methods that are faults, in a fixed order."""
        volume = ["kill_mount_child", "fill_disk"] if self._base.volume else []
        return [
            "cut_workers_from_postgres",
            "stall_workers_postgres",
            "refuse_workers_postgres",
            "cut_schedulers_from_postgres",
            "stall_schedulers_postgres",
            "cut_redis",
            "stall_redis",
            "flush_redis",
            "pause_redis",
            "restart_redis",
            "crash_postgres",
            *volume,
        ]

    def rare(self) -> list[str]:
        """Faults that take a minute to get over: locks of a dead mount live on until its session is given up."""
        return ["kill_mount"] if self._base.volume else []

    def cut_workers_from_postgres(self) -> bool:
        self._base.workers_postgres.cut()
        return True

    def cut_schedulers_from_postgres(self) -> bool:
        self._base.schedulers_postgres.cut()
        return True

    def stall_workers_postgres(self) -> bool:
        return self._stall(self._base.workers_postgres, 5.0)

    def stall_schedulers_postgres(self) -> bool:
        """Sometimes longer than a leader waits for an answer."""
        return self._stall(self._base.schedulers_postgres, 12.0)

    def refuse_workers_postgres(self) -> bool:
        return self._refuse(self._base.workers_postgres)

    def cut_redis(self) -> bool:
        return self._refuse(self._base.redis)

    def stall_redis(self) -> bool:
        return self._stall(self._base.redis, 4.0)

    def flush_redis(self) -> bool:
        """Every bell that was not heard yet is lost."""
        with redis.Redis.from_url(self._base.valkey.url) as client:
            client.flushall()
        return True

    def pause_redis(self) -> bool:
        """It answers nothing and closes nothing."""
        pid = self._base.valkey.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        self._wait(0.5, 4.0)
        os.kill(pid, signal.SIGCONT)
        return True

    def restart_redis(self) -> bool:
        with self._base.without_redis():
            self._wait(0.1, 3.0)
        return True

    def crash_postgres(self) -> bool:
        self._base.crash_postgres()
        return True

    def kill_mount_child(self) -> bool:
        self._base.kill_mount_child()
        self.mount_kills += 1
        return True

    def kill_mount(self) -> bool:
        self._base.kill_mount()
        self.mount_kills += 1
        return True

    def fill_disk(self) -> bool:
        """No entry can be made any more; then there is room again."""
        with filled(self._base.ws) as full:
            self._wait(0.5, 3.0)
        return full

    def _wait(self, least: float, most: float) -> None:
        self._stopping.wait(self._rng.uniform(least, most))

    def _stall(self, proxy: TcpProxy, most: float) -> bool:
        """Half-open; then either all goes on or all is reset."""
        proxy.stall()
        self._wait(0.5, most)
        if self._rng.random() < 0.5:
            proxy.cut()
        proxy.heal()
        return True

    def _refuse(self, proxy: TcpProxy) -> bool:
        proxy.refuse()
        self._wait(0.1, 3.0)
        proxy.heal()
        return True


def limit_entries(base: Base, entries: int) -> None:
    """The volume takes so many entries from now on, and holds something to fill it up with. Nobody may use it yet."""
    volume, mount = base.volume, base.mount
    assert volume is not None
    assert mount is not None
    limit = ["config", volume.meta_url, "--inodes", str(entries), "--yes"]
    subprocess.run(
        [juicefs_program(), *limit], check=True, capture_output=True, env=volume.volume.environment(), cwd="/"
    )
    mount.stop()  # it reads the limit when it starts
    mount.start()
    part = base.ws / ".ballast" / "0" / "part-0"
    part.mkdir(parents=True)
    for number in range(BALLAST_ENTRIES // BALLAST_PARTS):
        (part / str(number)).touch()
    for number in range(1, BALLAST_PARTS):
        _juicefs("clone", part, part.with_name(f"part-{number}"))


@contextmanager
def filled(ws: Path) -> Iterator[bool]:
    """The volume has room for nothing: by clones of the ballast, then name by name. Afterwards it has again.

    False where the limit could not be reached.
    """
    home = ws / ".ballast"
    try:
        copies = 0
        while copies < _MOST_BALLAST and _juicefs("clone", home / "0", home / f"copy-{copies}"):
            copies += 1
        yield _fill_by_name(home / "copy-more")
    finally:
        for copy in home.glob("copy-*"):
            _juicefs("rmr", "--skip-trash", copy)


def _fill_by_name(directory: Path) -> bool:
    try:
        directory.mkdir(exist_ok=True)
        for number in range(2 * BALLAST_ENTRIES):
            (directory / str(number)).touch()
    except OSError as error:
        return error.errno in FULL
    return False


def _juicefs(*arguments: str | Path) -> bool:
    done = subprocess.run([juicefs_program(), *arguments], check=False, capture_output=True, timeout=_JUICEFS_SECONDS)
    return done.returncode == 0

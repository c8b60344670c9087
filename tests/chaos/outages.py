"""Faults of servers, of the network and of the volume. What they start dies with the thread that asked for it."""

from __future__ import annotations

import os
import signal
import threading
from random import Random

import redis

from tests.chaos.agents import PREFIX
from tests.chaos.aim import Fault
from tests.chaos.fleet import Fleet
from tests.chaos.proxy import TcpProxy


class Weather:
    """What the faults around a fleet have in common."""

    def __init__(self, fleet: Fleet, rng: Random, stopping: threading.Event) -> None:
        self._fleet = fleet
        self._base = fleet.base
        self._keeper = fleet.keeper
        self._rng = rng
        self._stopping = stopping

    def _wait(self, least: float, most: float) -> None:
        self._stopping.wait(self._rng.uniform(least, most))

    def _stall(self, proxy: TcpProxy, least: float, most: float) -> bool:
        """Half-open; then either all goes on or all is reset."""
        proxy.stall()
        self._wait(least, most)
        if self._rng.random() < 0.5:
            proxy.cut()
        proxy.heal()
        return True

    def _refuse(self, proxy: TcpProxy) -> bool:
        proxy.refuse()
        self._wait(0.1, 3.0)
        proxy.heal()
        return True


class Outages(Weather):
    """What can happen around a fleet."""

    def catalogue(self) -> list[Fault]:
        """In a fixed order."""
        volume = [self.kill_mount_child, self.fill_disk] if self._base.volume else []
        return [
            self.cut_workers_from_postgres,
            self.stall_workers_postgres,
            self.refuse_workers_postgres,
            self.cut_schedulers_from_postgres,
            self.stall_schedulers_postgres,
            self.cut_redis,
            self.stall_redis,
            self.flush_redis,
            self.pause_redis,
            self.restart_redis,
            self.crash_postgres,
            *volume,
        ]

    def rare(self) -> list[Fault]:
        """Faults that take long to get over: locks of a dead mount live on until its session is given up."""
        return [self.kill_mount] if self._base.volume else []

    def cut_workers_from_postgres(self) -> bool:
        self._base.workers_postgres.cut()
        return True

    def cut_schedulers_from_postgres(self) -> bool:
        self._base.schedulers_postgres.cut()
        return True

    def stall_workers_postgres(self) -> bool:
        return self._stall(self._base.workers_postgres, 0.5, 5.0)

    def stall_schedulers_postgres(self) -> bool:
        """Sometimes longer than a leader waits for an answer."""
        return self._stall(self._base.schedulers_postgres, 0.5, 12.0)

    def refuse_workers_postgres(self) -> bool:
        return self._refuse(self._base.workers_postgres)

    def cut_redis(self) -> bool:
        return self._refuse(self._base.redis)

    def stall_redis(self) -> bool:
        return self._stall(self._base.redis, 0.5, 4.0)

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
        return self._mount_was_lost()

    def kill_mount(self) -> bool:
        self._base.kill_mount()
        return self._mount_was_lost()

    def _mount_was_lost(self) -> bool:
        """Whoever lived on it is started again. The handles of old and new files go by the same numbers in the mount's
        next process, so an agent may lose its lock, when another file is closed, and not notice: it would write on,
        nobody would ask it to stand still, and every snapshot would fail (QUIESCE_VIOLATED).
        """
        for name in self._keeper.names(PREFIX):
            self._keeper.signal(name, signal.SIGKILL)
        return True

    def fill_disk(self) -> bool:
        """No entry can be made any more; then there is room again."""
        with self._base.full_disk() as full:
            self._wait(0.1, 1.0)  # a task that meets it is dead: for long, nothing else would be seen
        return full

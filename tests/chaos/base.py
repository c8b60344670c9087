"""Servers that may be harmed: PostgreSQL, Valkey and a volume of their own, behind proxies."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from tests.chaos import history
from tests.chaos.proxy import TcpProxy
from tests.servers import JuiceFSVolume, Servers
from wvs_project.stack.errors import StackError
from wvs_project.stack.juicefs import Mount, juicefs_program, why_no_fuse
from wvs_project.stack.postgres import Database
from wvs_project.stack.programs import MIGRATE, run_job
from wvs_project.stack.waiting import LOOPBACK, wait_until

SECRET_KEY: Final = "for-chaos-only-" + "x" * 50
_OVER_SECONDS: Final = 30.0
_FULL_SECONDS: Final = 15.0
HEARTBEAT_SECONDS: Final = "2"


class Base:
    """What several fleets, one after the other, may stand on. Start and stop it in one thread that outlives them."""

    def __init__(self) -> None:
        self._exit = ExitStack()
        self._servers = Servers()
        self._template = Database("wvs_template", secrets.token_urlsafe(16))
        self.dir = self._servers.base
        self.postgres = self._servers.postgres
        self.valkey = self._servers.valkey
        self.volume: JuiceFSVolume | None = None
        self.workers_postgres = TcpProxy(self.postgres.port)
        self.schedulers_postgres = TcpProxy(self.postgres.port)
        self.redis = TcpProxy(self.valkey.port)

    @property
    def mark(self) -> str:
        """What all processes carry in their environment."""
        return str(self.dir)

    @property
    def ws(self) -> Path:
        """Where the workspaces are: the mounted volume, or a plain directory without FUSE."""
        return self.volume.mount if self.volume else self.dir / "ws"

    @property
    def mount(self) -> Mount | None:
        """The volume's mount, if there is one."""
        return self.volume.first if self.volume else None

    def start(self) -> None:
        """Servers, volume, a migrated database with its history to make others of, proxies."""
        self._servers.start()
        self._exit.callback(self._servers.stop)
        if why_no_fuse() is None:
            self.volume = _that_hears_soon(self._servers.juicefs())
        else:
            self.ws.mkdir()
        (self.dir / "log").mkdir()
        self._migrate()
        for proxy in (self.workers_postgres, self.schedulers_postgres, self.redis):
            proxy.start()
            self._exit.callback(proxy.stop)

    def stop(self) -> None:
        """Leave nothing behind."""
        self._exit.close()

    def _migrate(self) -> None:
        dsn = self.postgres.ensure(self._template)
        environment = {"PATH": os.defpath, "WVS_DB_DSN": dsn, "WVS_REDIS_URL": self.valkey.url}
        environment |= {"WVS_SECRET_KEY": SECRET_KEY, "EXECUTOR_ADDRS": "local"}
        run_job("migrate", MIGRATE, environment, self.dir / "log" / "migrate.log", self.mark)
        with psycopg.connect(dsn) as connection:
            history.install(connection)

    def new_database(self) -> Database:
        """An empty WVS database that nobody else uses."""
        name = f"wvs_{secrets.token_hex(4)}"
        with psycopg.connect(self.postgres.superuser_dsn, autocommit=True) as connection:
            make = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
            owner = sql.Identifier(self._template.name)
            connection.execute(make.format(sql.Identifier(name), owner, owner))
        return Database(name, self._template.password)

    def dsn(self, database: Database, port: int | None = None) -> str:
        """How to reach it, straight or through a proxy's port."""
        owner = self._template
        return f"postgresql://{owner.name}:{owner.password}@{LOOPBACK}:{port or self.postgres.port}/{database.name}"

    def redis_url(self) -> str:
        """How to reach Valkey through its proxy."""
        return self.valkey.url.replace(f":{self.valkey.port}/", f":{self.redis.port}/")

    # — what may be done to it —

    def crash_postgres(self) -> None:
        """Its immediate shutdown: every connection is lost, nothing is written that was not; then it recovers."""
        assert self.postgres.pid is not None
        os.kill(self.postgres.pid, signal.SIGQUIT)
        wait_until(self.postgres.has_exited, limit=_OVER_SECONDS, what="the end of PostgreSQL")
        self.postgres.stop()
        self.postgres.start()

    @contextmanager
    def without_redis(self) -> Iterator[None]:
        """Valkey is stopped, and comes back empty."""
        self.valkey.stop()
        try:
            yield
        finally:
            self.valkey.start()

    def kill_mount(self) -> None:
        """Both processes of the mount are killed, and the volume is mounted again. Its locks live on for a while."""
        mount = self.mount
        assert mount is not None
        assert mount.pid is not None
        os.killpg(mount.pid, signal.SIGKILL)
        wait_until(mount.has_exited, limit=_OVER_SECONDS, what="the end of the mount")
        mount.stop()
        mount.start()

    def kill_mount_child(self) -> None:
        """The serving process of the mount is killed; the watching one starts another in its place."""
        mount = self.mount
        assert mount is not None
        for process in self._serving(mount):
            os.kill(process, signal.SIGKILL)

    @contextmanager
    def full_disk(self) -> Iterator[bool]:
        """No entry can be made on the volume; afterwards there is room again. False where it did not become full."""
        self._limit_entries(1)
        try:
            yield self._wait_full(full=True)
        finally:
            self._limit_entries(0)
            self._wait_full(full=False)

    def _limit_entries(self, entries: int) -> None:
        """0 for as many as you like. The mount hears of it within its heartbeat."""
        assert self.volume is not None
        volume = self.volume.volume
        subprocess.run(
            [juicefs_program(), "config", volume.meta_url, "--inodes", str(entries), "--yes"],
            check=True,
            capture_output=True,
            env=volume.environment(),
        )

    def _wait_full(self, *, full: bool) -> bool:
        with suppress(StackError):
            wait_until(lambda: self._has_room() is not full, limit=_FULL_SECONDS, what="the limit of entries")
            return True
        return False

    def _has_room(self) -> bool:
        probe = self.ws / f".probe-{secrets.token_hex(4)}"
        try:
            probe.touch()
            probe.unlink()
        except OSError:
            return False
        return True

    @staticmethod
    def _serving(mount: Mount) -> list[int]:
        children = Path(f"/proc/{mount.pid}/task/{mount.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


def _that_hears_soon(volume: JuiceFSVolume) -> JuiceFSVolume:
    """Its mount's heartbeat tells how soon settings are heard of, and how soon the locks of a dead mount are free."""
    mount = volume.first
    mount.stop()
    mount.caches = {**mount.caches, "heartbeat": HEARTBEAT_SECONDS}
    mount.start()
    return volume

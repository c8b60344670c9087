"""Which servers a stack needs, given what its user has given: the embedded part or theirs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from wvs_project.stack.config import StackConfig
from wvs_project.stack.credentials import Credentials
from wvs_project.stack.errors import StackError
from wvs_project.stack.juicefs import Mount, Volume, why_no_fuse
from wvs_project.stack.places import own_directory
from wvs_project.stack.postgres import Database, PostgresServer
from wvs_project.stack.valkey import ValkeyServer
from wvs_project.stack.waiting import LOOPBACK

Say = Callable[[str], None]
JUICEFS: Final = "juicefs"
PLAIN: Final = "plain directory"


class Service(Protocol):
    """Something with a process: every server and every WVS process."""

    @property
    def name(self) -> str:
        """For people and for `WVS_PID_<NAME>`."""

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""

    def start(self) -> None:
        """Start and wait until ready. Raises StackError."""

    def has_exited(self) -> bool:
        """Whether a started one is gone."""

    def stop(self) -> None:
        """Stop. Harmless when not running."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a stack keeps what, below its state directory."""

    state: Path

    @property
    def mark(self) -> str:
        """What its processes carry."""
        return str(self.state)

    @property
    def env_file(self) -> Path:
        """There while the stack is ready."""
        return self.state / "env"

    def log(self, name: str) -> Path:
        """The log file of a part."""
        return self.state / "log" / f"{name}.log"

    @property
    def mountpoint(self) -> Path:
        """Where the volume is mounted."""
        return self.state / "ws"

    def another_mountpoint(self, number: int) -> Path:
        """Where the volume is mounted once more, for executor `number`; the first has `mountpoint`."""
        return self.state / f"ws-{number}"

    def mountpoints(self) -> list[Path]:
        """Wherever the volume is, or was, mounted."""
        return [self.mountpoint, *sorted(self.state.glob("ws-[0-9]*"))]

    @property
    def plain_directory(self) -> Path:
        """Where workspaces lie without FUSE."""
        return self.state / "ws-plain"


def postgres_of(config: StackConfig, layout: Layout, secrets: Credentials) -> PostgresServer:
    """The embedded PostgreSQL."""
    return PostgresServer(
        layout.state,
        log=layout.log("postgres"),
        password=secrets.postgres_password,
        port=config.postgres_port,
        mark=layout.mark,
    )


def valkey_of(config: StackConfig, layout: Layout, secrets: Credentials) -> ValkeyServer:
    """The embedded Valkey."""
    return ValkeyServer(
        layout.state,
        log=layout.log("redis"),
        password=secrets.redis_password,
        port=config.redis_port,
        mark=layout.mark,
    )


def mount_of(postgres: PostgresServer, layout: Layout, secrets: Credentials) -> Mount:
    """The embedded volume's mount; its metadata has a role and a database of its own. Formats it the first time."""
    database = Database("juicefs_meta", secrets.juicefs_meta_password)
    postgres.ensure(database)
    volume = Volume(
        meta_url=f"postgres://{database.name}@{LOOPBACK}:{postgres.port}/{database.name}?sslmode=disable",
        password=database.password,
        storage=layout.state / "objects",
        log=layout.log("juicefs"),
        mark=layout.mark,
    )
    volume.format()
    return Mount(volume, layout.mountpoint, layout.state / "cache")


def choose_file_system(config: StackConfig, layout: Layout, say: Say) -> str:
    """JUICEFS or PLAIN: JuiceFS wherever FUSE is usable. The first choice is kept, for the trees lie there.

    Raises StackError when the trees are on a volume that cannot be mounted now.
    """
    reason = why_no_fuse() if config.use_fuse else "WVS_STACK_FUSE=off"
    kept = layout.state / "file-system"
    chosen = kept.read_text().strip() if kept.exists() else (PLAIN if reason else JUICEFS)
    if chosen == JUICEFS and reason:
        raise StackError(
            f"the workspaces of {layout.state} are on a JuiceFS volume, which cannot be mounted now: {reason}. "
            "Start it where FUSE is usable, or take another directory with WVS_STACK_DIR."
        )
    if chosen == PLAIN:
        say(f"no JuiceFS volume here ({reason or 'started without FUSE the first time'}): workspaces are in a plain")
        say("directory, and snapshots are made by reflink where its file system can, else by copying")
    kept.write_text(chosen + "\n")
    return chosen


def given_directory(path: Path) -> Path:
    """A given EXECUTOR_MOUNT_PATH, checked. Raises StackError."""
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        raise StackError(f"EXECUTOR_MOUNT_PATH={path} is not a directory that can be written to")
    return path


def prepare(layout: Layout) -> None:
    """The state directory, and the logs of the last run put aside. Raises StackError if it is another account's."""
    own_directory(layout.state)
    logs = own_directory(layout.state / "log")
    for log in logs.glob("*.log"):
        log.replace(log.with_suffix(".log.1"))

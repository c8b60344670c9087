"""A JuiceFS volume apart from any stack, on a PostgreSQL of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psycopg

from wvs_project.stack.juicefs import Mount, Volume, mounted
from wvs_project.stack.postgres import Database, PostgresServer
from wvs_project.stack.waiting import LOOPBACK

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@contextmanager
def own_volume(base: Path, settings: Mapping[str, str] = _NONE, *, durable: bool = True) -> Iterator[Mount]:
    """The volume's mount, with everything below `base`; `settings` are PostgreSQL's, besides the stack's."""
    with ExitStack() as stack:
        base.mkdir(exist_ok=True)
        base.chmod(0o755)
        server = PostgresServer(base, log=base / "postgres.log", password=uuid.uuid4().hex, durable=durable)
        stack.callback(server.destroy)
        stack.callback(server.stop)
        server.start()
        if settings:
            _configure(server, settings)
        database = Database("juicefs_meta", uuid.uuid4().hex)
        server.ensure(database)
        url = f"postgres://{database.name}@{LOOPBACK}:{server.port}/{database.name}?sslmode=disable"
        volume = Volume(url, database.password, base / "objects", base / "juicefs.log", mark=str(base))
        volume.format()
        yield stack.enter_context(mounted(Mount(volume, base / "ws", base / "cache")))


def _configure(server: PostgresServer, settings: Mapping[str, str]) -> None:
    """Some of them need a new start."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        for name, value in settings.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    server.stop()
    server.start()

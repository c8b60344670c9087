"""The servers that the tests and the embedded stack stand on."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest
import redis

from tests.servers import JuiceFSVolume
from wvs_project.stack.postgres import Database, PostgresServer


def test_postgres_notices_dead_clients_within_seconds(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.superuser_dsn) as connection:
        row = connection.execute(
            "SELECT current_setting('client_connection_check_interval'), current_setting('tcp_keepalives_idle'),"
            " current_setting('server_version_num')::int / 10000"
        ).fetchone()
    assert row == ("2s", "10", 18)


def test_postgres_refuses_a_wrong_password(postgres_server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://postgres:wrong@127.0.0.1:{postgres_server.port}/postgres")


def test_the_role_of_wvs_cannot_enter_another_roles_database(postgres_server: PostgresServer) -> None:
    other = Database("other_role", "other-password")
    postgres_server.ensure(other)
    own = os.environ["WVS_DB_DSN"]
    with psycopg.connect(postgres_server.dsn(other)):
        pass
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(own.removesuffix("/wvs") + "/other_role")
    with psycopg.connect(own) as connection:
        row = connection.execute("SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user").fetchone()
    assert row == (False, False)


def test_valkey_refuses_clients_without_the_password(redis_url: str) -> None:
    address = redis_url.split("@")[1]
    with redis.Redis.from_url(f"redis://{address}") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


@pytest.mark.fuse
def test_the_volume_keeps_extended_attributes_and_nothing_in_the_trash(juicefs_dir: Path) -> None:
    file = juicefs_dir / "file"
    file.write_text("x")
    os.setxattr(file, "user.note", b"kept")
    assert os.getxattr(file, "user.note") == b"kept"


@pytest.mark.fuse
def test_a_second_mount_shows_the_same_files(juicefs_volume: JuiceFSVolume, juicefs_dir: Path) -> None:
    (juicefs_dir / "file").write_text("seen")
    with juicefs_volume.second_mount(attr_cache="1.0") as other:
        assert (other / juicefs_dir.name / "file").read_text() == "seen"

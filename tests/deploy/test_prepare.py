"""What is run by hand or by PostgreSQL in an installation: the preparation, the archive, the role."""

from __future__ import annotations

import gzip
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.deploy.installation import COMPOSE, services
from tests.servers import Servers
from wvs_project.stack.config import SOURCES
from wvs_project.stack.postgres import wheel_installation

SEGMENT = b"a segment" * 1000
ROLE = "made-by-a-script"


def sh(script: str, *arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", SOURCES / "deploy" / script, *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The directory of compose.yml on a host, prepared."""
    shutil.copytree(SOURCES / "deploy" / "vmauth", tmp_path / "deploy" / "vmauth")
    answer = sh("prepare.sh", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    return tmp_path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_all_that_compose_binds_is_made(host: Path) -> None:
    secrets = yaml.safe_load(COMPOSE.read_text())["secrets"]
    assert all((host / "secrets" / name).read_text() for name in secrets)
    for service in services().values():
        for volume in service.get("volumes", []):
            if volume["source"].startswith("${"):
                assert (host / volume["source"].partition(":-./")[2].replace("}", "")).is_dir()


def test_containers_can_read_the_secrets_and_nobody_else_can(host: Path) -> None:
    assert {mode_of(path) for path in (host / "secrets").iterdir()} == {0o444}
    assert {mode_of(host / name) for name in ("secrets", "archive", "data/stores")} == {0o700}
    assert mode_of(host / "data") == 0o711


def test_secrets_are_random_and_stay_when_it_is_run_again(host: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = {path.name: path.read_text() for path in (host / "secrets").iterdir()}
    assert len(set(before.values())) == len(before)
    (host / "secrets" / "wvs_secret_key").unlink()
    again = sh("prepare.sh", cwd=host)
    after = {path.name: path.read_text() for path in (host / "secrets").iterdir()}
    assert again.stdout == "made ./secrets/wvs_secret_key\n"
    assert {name for name in before if after[name] != before[name]} == {"wvs_secret_key"}
    assert after["redis_password"] in after["redis_url"]
    assert after["redis_conf"] == f"requirepass {after['redis_password']}"
    assert "%{" not in after["vmauth_config"]


def test_directories_are_where_the_environment_file_says(host: Path) -> None:
    (host / ".env").write_text("WVS_ARCHIVE_DIR=./elsewhere\n")
    assert sh("prepare.sh", cwd=host).returncode == 0
    assert (host / "elsewhere" / "wal-wvs").is_dir()


def test_a_segment_is_archived_whole_and_again_without_complaint(tmp_path: Path) -> None:
    segment, target = tmp_path / "segment", tmp_path / "archived"
    segment.write_bytes(SEGMENT)
    for _ in range(2):
        answer = sh("postgres/archive-wal.sh", segment, target, cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        assert gzip.decompress((tmp_path / "archived.gz").read_bytes()) == SEGMENT


def test_an_archived_segment_is_never_replaced_by_another(tmp_path: Path) -> None:
    segment, target = tmp_path / "segment", tmp_path / "archived"
    segment.write_bytes(SEGMENT)
    sh("postgres/archive-wal.sh", segment, target, cwd=tmp_path)
    segment.write_bytes(b"another")
    assert sh("postgres/archive-wal.sh", segment, target, cwd=tmp_path).returncode == 1
    assert gzip.decompress((tmp_path / "archived.gz").read_bytes()) == SEGMENT


def test_an_archive_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "segment").write_bytes(SEGMENT)
    answer = sh("postgres/archive-wal.sh", tmp_path / "segment", tmp_path / "no" / "archived", cwd=tmp_path)
    assert answer.returncode != 0


@pytest.fixture
def clean_server(servers: Servers) -> Iterator[str]:
    """The superuser's DSN; the role and its database go afterwards."""
    dsn = servers.postgres.superuser_dsn
    yield dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(ROLE)))
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(ROLE)))


def test_the_role_owns_its_database_and_is_no_superuser(clean_server: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("it's; the $password")
    given = conninfo_to_dict(clean_server)
    answer = sh(
        "postgres/make-role.sh",
        cwd=tmp_path,
        PATH=f"{wheel_installation(None, tmp_path) / 'bin'}:/usr/bin:/bin",
        PGHOST=str(given["host"]),
        PGPORT=str(given["port"]),
        PGPASSWORD=str(given["password"]),
        POSTGRES_USER=str(given["user"]),
        WVS_ROLE=ROLE,
        WVS_ROLE_PASSWORD_FILE=str(tmp_path / "password"),
    )
    assert answer.returncode == 0, answer.stderr
    own = make_conninfo(clean_server, user=ROLE, dbname=ROLE, password="it's; the $password")
    with psycopg.connect(own) as connection:
        found = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        assert found == (False,)
        connection.execute("CREATE SCHEMA wvs")

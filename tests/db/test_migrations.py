"""Migrations are the only thing that makes the schema, and they make what the models say (P1-04)."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.management import call_command
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def empty_database() -> Iterator[str]:
    """The URL of a database in which nothing is."""
    url = urlsplit(os.environ["WVS_DB_DSN"])
    name = f"empty_{secrets.token_hex(6)}"
    with psycopg.connect(url.geturl(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield url._replace(path=f"/{name}").geturl()
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _manage(database: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"WVS_DB_DSN": database},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.django_db
def test_the_migrations_say_what_the_models_say() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.rule("P1-04")
def test_migrate_makes_everything_in_the_schema_of_an_empty_database_and_can_be_run_again(empty_database: str) -> None:
    _manage(empty_database, "migrate")
    assert "No migrations to apply" in _manage(empty_database, "migrate")
    with psycopg.connect(empty_database) as connection:
        tables = set(
            connection.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname <> ALL(%s)",
                [["pg_catalog", "information_schema"]],
            )
        )
    assert {schema for schema, _ in tables} == {"wvs"}
    assert {"workspaces", "snapshots", "tasks", "audit"} <= {table for _, table in tables}

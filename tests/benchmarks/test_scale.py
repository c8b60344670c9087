"""The benchmark of sizes works, and compares only what shows as many rows. No number is judged."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from benchmarks import scale
from benchmarks.scale import Place, measure, report
from benchmarks.scale_data import Size
from wvs_project.stack.postgres import PostgresServer

SMALL, LARGE = 1000, 1500


@pytest.fixture
def place(postgres_server: PostgresServer, redis_url: str) -> Iterator[Place]:
    """On the tests' servers."""
    yield Place(postgres_server, redis_url)
    with psycopg.connect(postgres_server.superuser_dsn, autocommit=True) as connection:
        for size in (SMALL, LARGE):
            connection.execute(f"DROP DATABASE IF EXISTS scale_{size} WITH (FORCE)")
            connection.execute(f"DROP ROLE IF EXISTS scale_{size}")


def test_all_of_it_is_measured_once_on_either_side(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(measure(place, (SMALL, LARGE), rounds=1))
    found = {row.what: row for row in rows}
    assert {"dashboard", "claim", "POST snapshot", "GET tasks, page 1", "GET tasks, page 5,000"} <= found.keys()
    assert {row.spread.n for row in rows} == {1}
    assert {what: row.notes["rows"] for what, row in found.items() if row.notes["rows"] == 0} == {}
    # A page is full wherever more than one row is looked for.
    assert found["tasks: DEAD"].notes["rows"] == found["snapshots: dropped"].notes["rows"] == 50
    assert found["GET tasks?op=snapshot_drop"].notes["rows"] == 20
    report(rows, as_json=False)
    assert "tasks, a deep page" in capsys.readouterr().out


def test_what_shows_other_numbers_of_rows_is_not_compared() -> None:
    class Side:
        def __init__(self, rows: int) -> None:
            self.probes, self.rows = ["a list"], [rows]

    with pytest.raises(RuntimeError, match="a list: 50 rows and 49 cannot be compared"):
        scale._refuse_unequal_rows(Side(50), Side(49), [0])  # type: ignore[arg-type]


def test_a_million_tasks_come_with_ten_thousand_workspaces_and_a_hundred_thousand_that_wait() -> None:
    assert Size.of(1_000_000) == Size(finished=1_000_000, workspaces=10_000, waiting=100_000)

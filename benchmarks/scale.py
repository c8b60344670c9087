"""Whether size costs: the admin's pages, the API's lists, a POST and a claim, with a thousand tasks and with a million.

Two databases on one PostgreSQL of its own, two processes with the whole WSGI application in them, asked in turn, so
that whatever else the machine does meets both. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from benchmarks.rows import Row, Spread, all_met, at_most
from benchmarks.scale_data import Size, fill
from benchmarks.stack import ROOT
from wvs_project.stack.places import PASSABLE
from wvs_project.stack.postgres import Database, PostgresServer
from wvs_project.stack.stopping import StopAsked, stop_signals
from wvs_project.stack.valkey import ValkeyServer

SIZES: Final = (1_000, 1_000_000)
ROUNDS: Final = 40
_WARM_UP: Final = 3
_MOST: Final = 1.5
_STRICT: Final = {"POST snapshot": 1.2, "claim": 1.2, "GET tasks, page 1": 1.2, "GET tasks, page 5,000": 1.2}
"""How many times the small side's p50 the large side's may be."""


@dataclass
class Place:
    """The servers, and the databases on them."""

    postgres: PostgresServer
    redis_url: str

    def database(self, finished: int) -> str:
        """WVS's address of the data of that size, which is made unless it is there. Takes minutes for a million."""
        database = Database(f"scale_{finished}", secrets.token_urlsafe(16))
        superuser = make_conninfo(self.postgres.superuser_dsn, dbname=database.name)
        dsn = self.postgres.ensure(database)
        if filled := _is_filled(superuser):
            _say(f"{finished:,} finished tasks are there")
        else:
            _say(f"making {finished:,} finished tasks …")
            with psycopg.connect(self.postgres.superuser_dsn, autocommit=True) as connection:
                # Half full, where an earlier run was cut short.
                connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(database.name)))
            self.postgres.ensure(database)
        migrate = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"]
        subprocess.run(migrate, env=self.environment(dsn), check=True)
        if not filled:
            fill(superuser, Size.of(finished))
        return dsn

    def environment(self, dsn: str) -> dict[str, str]:
        """What a process of WVS on that database needs."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "WVS_DB_DSN": dsn,
            "WVS_REDIS_URL": self.redis_url,
            "WVS_SECRET_KEY": "for-a-benchmark-only-" + "x" * 40,
            "WVS_LOG_LEVEL": "error",
            "EXECUTOR_ADDRS": "local",
        }

    @contextmanager
    def side(self, finished: int, dsn: str) -> Iterator[SideProcess]:
        """A process on the data of that size."""
        command = [sys.executable, "-m", "benchmarks.scale_side", str(finished)]
        with subprocess.Popen(
            command,
            env=self.environment(dsn),
            cwd=ROOT,
            text=True,
            bufsize=1,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            try:
                yield SideProcess(process)
            finally:
                assert process.stdin is not None
                process.stdin.close()


class SideProcess:
    """A process of `scale_side`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self.probes: list[str] = self._read()
        self.seconds: list[list[float]] = [[] for _ in self.probes]
        self.rows: list[int] = [0 for _ in self.probes]

    def run(self, probe: int) -> None:
        """Once more. Raises RuntimeError if the process is gone: why is on stderr."""
        self._stdin.write(f"{probe}\n")
        seconds, self.rows[probe] = self._read()
        self.seconds[probe].append(seconds)

    def forget(self) -> None:
        """What was measured was for warming up."""
        for seconds in self.seconds:
            seconds.clear()

    def _read(self) -> list:  # type: ignore[type-arg]
        line = self._stdout.readline()
        if not line:
            raise RuntimeError("a side is gone")
        return list(json.loads(line))


def measure(place: Place, sizes: Sequence[int], rounds: int, only: str = "") -> Iterator[Row]:
    """A row for each probe whose name holds `only`, of the largest size beside the smallest."""
    small, large = min(sizes), max(sizes)
    with ExitStack() as stack:
        databases = {size: place.database(size) for size in (small, large)}
        sides = [stack.enter_context(place.side(size, dsn)) for size, dsn in databases.items()]
        if sides[0].probes != sides[1].probes:
            raise RuntimeError("the sides measure different things")
        chosen = [number for number, what in enumerate(sides[0].probes) if only in what]
        first = -_WARM_UP if rounds > 1 else 0
        for number in range(first, rounds):
            if number == 0:
                _say("measuring …")
                for side in sides:
                    side.forget()
            for probe in chosen:
                for side in sides if number % 2 else reversed(sides):
                    side.run(probe)
            if number == first:
                _refuse_unequal_rows(sides[0], sides[1], chosen)
        for probe in chosen:
            yield _row(sides[0], sides[1], probe, small)


def _refuse_unequal_rows(small: SideProcess, large: SideProcess, chosen: Sequence[int]) -> None:
    for probe in chosen:
        if small.rows[probe] != large.rows[probe]:
            what = f"{large.probes[probe]}: {small.rows[probe]} rows and {large.rows[probe]}"
            raise RuntimeError(f"{what} cannot be compared")


def _row(small: SideProcess, large: SideProcess, probe: int, size: int) -> Row:
    what = large.probes[probe]
    return Row(
        what=what,
        unit="ms",
        spread=Spread.of(large.seconds[probe], 1000),
        beside=f"{size:,} tasks",
        than=Spread.of(small.seconds[probe], 1000),
        must=at_most(ratio=_STRICT.get(what, _MOST)),
        notes={"rows": large.rows[probe]},
    )


@contextmanager
def place(keep: Path | None = None) -> Iterator[Place]:
    """Servers of our own, gone afterwards; in `keep` their data stays, and is found by the next run."""
    with ExitStack() as stack:
        base = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wvs-scale-")))
        base.mkdir(exist_ok=True)
        base = base.resolve()
        base.chmod(PASSABLE)
        postgres = PostgresServer(base, log=base / "postgres.log", password=_password(base), durable=False)
        if keep is None:
            stack.callback(postgres.destroy)
        stack.callback(postgres.stop)
        postgres.start()
        valkey = ValkeyServer(base, log=base / "valkey.log", password=secrets.token_urlsafe(16))
        stack.callback(valkey.stop)
        valkey.start()
        yield Place(postgres, valkey.url)


def _password(base: Path) -> str:
    file = base / "password"
    if not file.exists():
        file.touch(0o600)
        file.write_text(secrets.token_urlsafe(16))
    return file.read_text()


def _is_filled(superuser_dsn: str) -> bool:
    """The orders are put in last."""
    with psycopg.connect(superuser_dsn, options="-c search_path=wvs") as connection:
        found = connection.execute("SELECT to_regclass('orders')").fetchone()
        if found is None or found[0] is None:
            return False
        return bool(connection.execute("SELECT FROM orders LIMIT 1").rowcount)


def report(rows: Sequence[Row], *, as_json: bool) -> None:
    """A line for each row."""
    if as_json:
        print(json.dumps([dataclasses.asdict(row) | {"ratio": row.ratio, "met": row.met} for row in rows]))
        return
    print(f"{'':<46} {'rows':>4} {'p50':>8} {'p99':>8} {'small p50':>10} {'p99':>8} {'ratio':>6}")
    for row in rows:
        assert row.than is not None
        numbers = f"{row.spread.p50:8.2f} {row.spread.p99:8.2f} {row.than.p50:10.2f} {row.than.p99:8.2f}"
        print(f"{row.what:<46} {row.notes['rows']:>4} {numbers} {row.ratio or 0:6.2f} {row.missed()}")


def _say(said: str) -> None:
    print(said, file=sys.stderr)


def main() -> int:
    """Exit code 0: all that must be shown is; 1: it is not."""
    parser = argparse.ArgumentParser(description="Whether a million tasks cost more than a thousand.")
    parser.add_argument("--tasks", type=int, nargs=2, default=SIZES, help="how many finished ones on either side")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="only what has this in its name")
    parser.add_argument("--keep", type=Path, help="a directory for the data, to measure again without making it")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with stop_signals():
        try:
            with place(given.keep) as servers:
                rows = list(measure(servers, given.tasks, given.rounds, given.only))
        except StopAsked:
            return 130
    report(rows, as_json=given.json)
    return 0 if all_met(rows) else 1


if __name__ == "__main__":
    sys.exit(main())

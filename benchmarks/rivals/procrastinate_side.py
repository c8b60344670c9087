"""Procrastinate's side of the queue's benchmark: jobs that do nothing, in any order, or one at a time within a lock.

`fill LOCKS JOBS` (0: no locks), then `work THREADS JOBS`, which ends when so many are done and prints the
seconds from the first one's start to the last one's end, as the database has them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Final

import procrastinate
import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.rivals.asked import do
from benchmarks.stack import setting

_SCHEMA: Final = "procrastinate"
_PULSE: Final = 0.05
_TIMES: Final = """
SELECT count(*) FILTER (WHERE type = 'succeeded'), EXTRACT(EPOCH FROM max(at) FILTER (WHERE type = 'succeeded')
     - min(at) FILTER (WHERE type = 'started'))::float8 FROM procrastinate_events
"""


def conninfo() -> str:
    """WVS's database, in a schema of its own."""
    return make_conninfo(setting("WVS_DB_DSN"), options=f"-c search_path={_SCHEMA}")


def app_on(dsn: str, size: int, done: list[int]) -> procrastinate.App:
    """With that many connections: nobody waits for one. The job is an ordinary function, which gets a thread."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=size, max_size=size))

    def nothing(number: int) -> None:
        done.append(number)

    app.task(name="nothing")(nothing)
    return app


def fill(locks: int, jobs: int) -> None:
    """An empty schema, and so many jobs in turn over so many locks."""
    with psycopg.connect(conninfo(), autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")
        connection.execute(f"CREATE SCHEMA {_SCHEMA}")
    with app_on(conninfo(), 1, []).open() as app:
        app.schema_manager.apply_schema()
        for number in range(jobs):
            lock = f"workspace-{number % locks}" if locks else None
            app.configure_task("nothing", lock=lock).defer(number=number)


async def drain(threads: int, jobs: int) -> None:
    """A worker until so many are done; then it is told to end, and ends what it has begun."""
    done: list[int] = []
    async with app_on(conninfo(), threads + 2, done).open_async() as app:
        # It looks again that often when all that waits is locked; its default of 5 s would be all that is measured.
        run = app.run_worker_async(
            concurrency=threads, install_signal_handlers=False, fetch_job_polling_interval=_PULSE
        )
        worker = asyncio.create_task(run)
        while len(done) < jobs and not worker.done():
            await asyncio.sleep(_PULSE)
        worker.cancel()
        await asyncio.wait([worker])


def work(threads: int, jobs: int) -> None:
    """One process, until all are done."""
    asyncio.run(drain(threads, jobs))
    with psycopg.connect(conninfo(), autocommit=True) as connection:
        row = connection.execute(_TIMES).fetchone()
        connection.execute(f"DROP SCHEMA {_SCHEMA} CASCADE")
    assert row is not None
    print(json.dumps({"jobs": row[0], "seconds": row[1]}))


if __name__ == "__main__":
    sys.exit(do(__doc__, fill=fill, work=work))

"""How many tasks a second the queue does when the executor does nothing, beside procrastinate and plain Dramatiq.

All drain a queue that was filled before: one process with as many threads, on the same PostgreSQL and Valkey, in turn.
From the first start to the last end, so nobody's start-up counts. Procrastinate is there twice: in any order, and with
a lock for each workspace, which promises what WVS does. Dramatiq stores nothing: it is there to see, not to beat.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import psycopg

from benchmarks.rows import Row, Spread, at_least
from benchmarks.site import Site, running
from benchmarks.stack import ROOT, Failed

_LIMIT: Final = 600.0
_PULSE: Final = 0.1
_LEFT: Final = "SELECT count(*) FROM tasks WHERE task_id = ANY(%s) AND status <> 'SUCCEEDED'"
_SECONDS: Final = """
SELECT EXTRACT(EPOCH FROM max(ended_at) - min(started_at))::float8 FROM tasks WHERE task_id = ANY(%s)
"""
_NOOP_WORKER: Final = ("-m", "benchmarks.django_program", "benchmarks.noop_worker")
_OURS: Final = "WVS"
_PLAIN: Final = "procrastinate's no-op jobs"
_LOCKED: Final = "procrastinate's, with a lock for each workspace"
_DRAMATIQ: Final = "Dramatiq's no-op messages"


class Queues:
    """The three of them on one site."""

    def __init__(self, site: Site) -> None:
        self._environment = dict(site.program("worker").environment)
        self._dsn = site.dsn
        self._worker = site.variant("worker", _NOOP_WORKER)
        self._threads = self._environment.get("WORKER_THREADS", "8")

    def prepare(self, workspaces: int) -> None:
        """Make so many for WVS."""
        with running(self._worker):
            self._program("benchmarks.django_program", "benchmarks.queue_fill", "prepare", str(workspaces))

    def rates(self, workspaces: int, tasks: int) -> dict[str, float]:
        """Tasks a second of each, one after the other."""
        return {
            _OURS: self._wvs(workspaces, tasks),
            _PLAIN: self._rival("procrastinate", ["0"], tasks),
            _LOCKED: self._rival("procrastinate", [str(workspaces)], tasks),
            _DRAMATIQ: self._rival("dramatiq", [], tasks),
        }

    def _wvs(self, workspaces: int, tasks: int) -> float:
        fill = ("benchmarks.django_program", "benchmarks.queue_fill", "submit", str(workspaces), str(tasks))
        submitted = json.loads(self._program(*fill))
        with psycopg.connect(self._dsn, autocommit=True, options="-c search_path=wvs") as connection:
            with running(self._worker):
                self._wait(connection, submitted)
            row = connection.execute(_SECONDS, [submitted]).fetchone()
        assert row is not None
        return tasks / float(row[0])

    def _wait(self, connection: psycopg.Connection, submitted: list[str]) -> None:
        end = time.monotonic() + _LIMIT
        while (row := connection.execute(_LEFT, [submitted]).fetchone()) and row[0]:
            if time.monotonic() > end:
                raise Failed(f"{row[0]} tasks are left after {_LIMIT:g} s")
            time.sleep(_PULSE)

    def _rival(self, name: str, fill: Sequence[str], tasks: int) -> float:
        module = f"benchmarks.rivals.{name}_side"
        self._program(module, "fill", *fill, str(tasks))
        done = json.loads(self._program(module, "work", self._threads, str(tasks)))
        if done["jobs"] != tasks:
            raise Failed(f"{name} did {done['jobs']} of {tasks} jobs")
        return tasks / float(done["seconds"])

    def _program(self, *arguments: str) -> str:
        argv = [sys.executable, "-m", *arguments]
        done = subprocess.run(argv, env=self._environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
        return done.stdout.splitlines()[-1] if done.stdout else ""


def rows(site: Site) -> Iterator[Row]:
    """For each number of workspaces beside both rivals; then whether more workspaces do more."""
    sizes = site.size((1, 10, 100, 1_000), (2,))
    tasks, rounds = site.size(2_000, 12), site.size(3, 1)
    found: dict[int, list[float]] = {}
    with site.without("worker"):
        queues = Queues(site)
        queues.prepare(max(sizes))
        for workspaces in sizes:
            measured = [queues.rates(workspaces, tasks) for _ in range(rounds)]
            rates = {name: [one[name] for one in measured] for name in measured[0]}
            found[workspaces] = rates[_OURS]
            yield from _beside(workspaces, tasks, rates)
    if len(sizes) > 1:
        yield _growth(found)


def _growth(found: Mapping[int, list[float]]) -> Row:
    """The most workspaces beside the fewest."""
    few, many = min(found), max(found)
    return Row(
        f"{many:,} workspaces beside {few}",
        "tasks/s",
        Spread.of(found[many]),
        f"{few} workspace{'s' * (few > 1)}",
        Spread.of(found[few]),
        must=at_least(ratio=1.0),
        notes={"p50 by workspaces": {f"{size:,}": Spread.of(rates).p50 for size, rates in found.items()}},
    )


def _beside(workspaces: int, tasks: int, rates: dict[str, list[float]]) -> Iterator[Row]:
    """One workspace does one thing after the other, as it promises: there, what promises the same is what to beat."""
    to_beat = _PLAIN if workspaces > 1 else _LOCKED
    for name in (_PLAIN, _LOCKED, _DRAMATIQ):
        yield Row(
            f"no-op tasks, {workspaces:,} workspace{'s' * (workspaces > 1)}",
            "tasks/s",
            Spread.of(rates[_OURS]),
            name,
            Spread.of(rates[name]),
            must=at_least(ratio=1.0) if name == to_beat else (),
            notes={"tasks a round": tasks},
        )

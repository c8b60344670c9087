"""What a stack costs that has nothing to do: statements of its database, commands of its Valkey, CPU of all processes.

Statements are counted in PostgreSQL's own log, BEGIN and COMMIT included; those of JuiceFS's metadata are another
database's. Commands are counted by Valkey, CPU seconds by the kernel.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict

from benchmarks.rows import Row, Spread, at_most, rounded
from benchmarks.site import Site
from wvs_project.stack.orphans import marked_processes, postgres_processes

_PREFIX: Final = "bench-idle:%d:"
_STATEMENT: Final = re.compile(r"^bench-idle:(\w+):LOG:  (?:statement|execute [^:]*): (\w+)", re.MULTILINE)
_OURS: Final = ("info", "config|resetstat", "ping")
_PER_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one window: each a second, but the CPU, which is seconds a minute."""

    statements: float
    commands: float
    cpu: float
    kinds: Mapping[str, int]
    """Statements by their first word."""
    by_command: Mapping[str, int]
    by_process: Mapping[str, float]


def rows(site: Site) -> Iterator[Row]:
    """Three rows of the same windows."""
    window, windows = site.size(60.0, 0.5), site.size(3, 1)
    time.sleep(site.size(20.0, 0.0))  # what the start left to do is done, and all have fallen into their slow beat
    with logged_statements(site):
        costs = [measure(site, window) for _ in range(windows)]
    last = costs[-1]
    statements = Spread.of([cost.statements for cost in costs])
    yield Row("idle: SQL statements", "a second", statements, must=at_most(p50=1.0), notes=last.kinds)
    commands = Spread.of([cost.commands for cost in costs])
    yield Row("idle: Valkey commands, one worker", "a second", commands, must=at_most(p50=4.0), notes=last.by_command)
    cpu = Spread.of([cost.cpu for cost in costs])
    yield Row("idle: CPU of all processes", "s a minute", cpu, must=at_most(p50=1.0), notes=last.by_process)


@contextmanager
def logged_statements(site: Site) -> Iterator[None]:
    """While inside, PostgreSQL logs every statement with its database's name."""
    settings = {"log_statement": "all", "log_line_prefix": _PREFIX}
    with psycopg.connect(site.superuser_dsn, autocommit=True) as connection:
        for name, value in settings.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        connection.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            for name in settings:
                connection.execute(f"ALTER SYSTEM RESET {name}")
            connection.execute("SELECT pg_reload_conf()")


def measure(site: Site, seconds: float) -> Cost:
    """One window."""
    log = site.stack.layout.log("postgres")
    database = str(conninfo_to_dict(site.dsn)["dbname"])
    with redis.Redis.from_url(site.environment["WVS_REDIS_URL"]) as client:
        client.config_resetstat()
        at, used, began = log.stat().st_size, _cpu(site), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        commands = _commands(client)
        used = {name: value - used.get(name, 0.0) for name, value in _cpu(site).items()}
    kinds = Counter(word.upper() for name, word in _STATEMENT.findall(_tail(log, at)) if name == database)
    return Cost(
        statements=kinds.total() / took,
        commands=sum(commands.values()) / took,
        cpu=sum(used.values()) / took * _PER_MINUTE,
        kinds=dict(kinds),
        by_command=commands,
        by_process={name: rounded(value / took * _PER_MINUTE) for name, value in used.items()},
    )


def _tail(log: Path, at: int) -> str:
    with log.open("rb") as file:
        file.seek(at)
        return file.read().decode(errors="replace")


def _commands(client: redis.Redis) -> dict[str, int]:
    stats: object = client.info("commandstats")
    assert isinstance(stats, dict)
    found = {name.removeprefix("cmdstat_"): int(numbers["calls"]) for name, numbers in stats.items()}
    return {name: calls for name, calls in found.items() if name not in _OURS}


def _cpu(site: Site) -> dict[str, float]:
    """Seconds so far, by program. Of those that end meanwhile the rest is lost: an idle stack starts none."""
    layout = site.stack.layout
    found: Counter[str] = Counter()
    processes = {process.pid: process for process in marked_processes(layout.mark)}
    processes |= {process.pid: process for process in postgres_processes(site.postgres_data)}
    for process in processes.values():
        try:
            times = process.cpu_times()
            found[_name(process)] += times.user + times.system  # type: ignore[assignment]
        except psutil.NoSuchProcess:
            continue
    return dict(found)


def _name(process: psutil.Process) -> str:
    said = " ".join(process.cmdline())
    known = {"run_worker": "worker", "run_scheduler": "scheduler", "gunicorn": "api", "juicefs": "juicefs"}
    return next((name for word, name in known.items() if word in said), process.name())

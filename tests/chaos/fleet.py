"""The WVS processes of one run, kept alive, each with its own settings: an api, workers, schedulers, executors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg

from tests.chaos.base import SECRET_KEY, Base
from tests.chaos.executors import PREFIX, Executors
from tests.chaos.keeper import Keeper, Unit
from wvs_project.stack.config import SOURCES
from wvs_project.stack.juicefs import juicefs_program
from wvs_project.stack.programs import API, EXECUTOR, SCHEDULER, WORKER
from wvs_project.stack.waiting import LOOPBACK, free_port, wait_until

LIVE: Final = "('PENDING', 'RUNNING', 'FAILED')"
_READY_SECONDS: Final = 90.0
_COMMAND_SECONDS: Final = 120.0
_FAST: Final[Mapping[str, str]] = {
    "WORKER_THREADS": "4",
    "WORKER_BACKOFF_BASE": "0.2s",
    "WORKER_SHUTDOWN_TIMEOUT": "5s",
    "WVS_API_THREADS": "32",
    "EXECUTOR_QUIESCE_TIMEOUT": "5s",
    "EXECUTOR_FREEZE_LEASE": "4s",
    "EXECUTOR_FREEZE_MAX": "20s",
    "WVS_SWEEP_INTERVAL": "2s",
    "WVS_LIVE_GRACE": "5s",
    "WVS_LOG_FORMAT": "json",
}


class Fleet:
    """One api, so many workers, schedulers and executors on a database of their own. Use `running_fleet`."""

    def __init__(
        self, base: Base, *, workers: int, schedulers: int, executors: int, settings: Mapping[str, str]
    ) -> None:
        self.base = base
        self.database = base.new_database()
        self.dsn = base.dsn(self.database)
        self.dir = base.dir / self.database.name
        self.dir.mkdir()
        self.locks_log = self.dir / "locks"
        self.keeper = Keeper(base.mark)
        self.executors = Executors(base, self.dir, executors)
        self._settings = {**_FAST, **settings}
        listen = f"{LOOPBACK}:{free_port()}"
        self.api_url = f"http://{listen}/v1"
        self._metrics: dict[str, str] = {}
        for service in self.executors.services:
            self._keep(service.name, EXECUTOR, "EXECUTOR_METRICS_ADDR", service.settings)
        self._add("api", API, self.dsn, WVS_LISTEN_ADDR=listen)
        for number in range(workers):
            self.add_worker(f"worker-{number}")
        for number in range(schedulers):
            self._add(f"scheduler-{number}", SCHEDULER, base.dsn(self.database, base.schedulers_postgres.port))

    def add_worker(self, name: str, *, program: tuple[str, ...] = WORKER, **environment: str) -> None:
        """One more worker."""
        self._add(name, program, self.base.dsn(self.database, self.base.workers_postgres.port), **environment)

    def _add(self, name: str, program: tuple[str, ...], dsn: str, **environment: str) -> None:
        self._keep(name, program, "WVS_METRICS_ADDR", {**self._control_plane(dsn), **environment})

    def _keep(self, name: str, program: tuple[str, ...], metrics: str, environment: Mapping[str, str]) -> None:
        self._metrics[name] = f"{LOOPBACK}:{free_port()}"
        own = {metrics: self._metrics[name], "WVS_FAILPOINTS": self.failpoints(), **environment}
        unit = Unit(name, [sys.executable, *program], {**self._everybody(), **own}, self.dir / f"{name}.log")
        self.keeper.add(unit)

    def _everybody(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.defpath}:/usr/sbin:/sbin"
        return {"PATH": path, "PYTHONUNBUFFERED": "1", **self._settings}

    def _control_plane(self, dsn: str) -> dict[str, str]:
        """What only its processes may know, and where executors are."""
        stores = {"WVS_DB_DSN": dsn, "WVS_REDIS_URL": self.base.redis_url(), "WVS_SECRET_KEY": SECRET_KEY}
        return {**stores, **self.executors.control_environment()}

    @property
    def cloners(self) -> str:
        """How the names of those begin who clone, and hold the workspaces' locks."""
        return PREFIX if self.executors.count else "worker-"

    def failpoints(self, *more: str) -> str:
        """Every process writes down which workspace's lock it holds; and what else it is armed with."""
        locks = [f"{point}=log:{self.locks_log}" for point in ("fence.held", "fence.released")]
        return ",".join([*locks, *more])

    def wait_ready(self, *names: str) -> None:
        """Until each says that it is ready."""
        for name in names or self._metrics:
            wait_until(lambda name=name: self.is_ready(name), limit=_READY_SECONDS, what=f"{name} ready")  # type: ignore[misc]

    def is_ready(self, name: str) -> bool:
        """Whether it says so."""
        try:
            return httpx.get(f"http://{self._metrics[name]}/readyz", timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    # — looking —

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of one statement, from wherever the tests stand: straight, past every proxy."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()

    def live(self) -> int:
        """How many tasks are not finished."""
        return int(self.query(f"SELECT count(*) FROM wvs.tasks WHERE status IN {LIVE}")[0][0])

    def wait_settled(self, limit: float) -> float:
        """Until every accepted task is finished (I7); seconds it took. Raises StackError."""
        begun = time.monotonic()
        wait_until(lambda: self.live() == 0, limit=limit, what="the end of every task")
        return time.monotonic() - begun

    def wait_ended(self, task_id: str, limit: float) -> str:
        """Until this task is finished; its status then. Raises StackError."""
        ended = "SELECT status FROM wvs.tasks WHERE task_id = %s AND ended_at IS NOT NULL"
        wait_until(lambda: bool(self.query(ended, task_id)), limit=limit, what=f"the end of {task_id}")
        return str(self.query(ended, task_id)[0][0])

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A management command, as its operator runs it."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=SOURCES,
            env={**self._everybody(), **self._control_plane(self.dsn)},
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )

    def log_lines(self, name: str, event: str) -> list[dict[str, Any]]:
        """What a process logged of that event."""
        lines = (self.dir / f"{name}.log").read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if event in line and line.startswith("{")]


@contextmanager
def running_fleet(
    base: Base, *, workers: int = 3, schedulers: int = 2, executors: int = 0, **settings: str
) -> Iterator[Fleet]:
    """A fleet that is ready; without executors its workers execute by themselves.

    At the end everything of it is killed, and the network is whole again.
    """
    fleet = Fleet(base, workers=workers, schedulers=schedulers, executors=executors, settings=settings)
    fleet.executors.start()
    fleet.keeper.start()
    try:
        fleet.wait_ready()
        yield fleet
    finally:
        fleet.keeper.stop()
        for proxy in (base.workers_postgres, base.schedulers_postgres, base.redis):
            proxy.heal()
        fleet.executors.stop()
        _clear(base)


def _clear(base: Base) -> None:
    """The next fleet has a database of its own, which knows none of these workspaces."""
    for root in base.ws.iterdir():
        if (root / ".wvs").is_dir():
            if base.volume is not None:
                subprocess.run([juicefs_program(), "rmr", "--skip-trash", root], check=False, capture_output=True)
            shutil.rmtree(root, ignore_errors=True)

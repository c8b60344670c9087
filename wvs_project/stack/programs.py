"""The WVS processes and jobs that run on the servers."""

from __future__ import annotations

import http.client
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wvs_project.stack.config import SOURCES
from wvs_project.stack.errors import StackError
from wvs_project.stack.processes import Child, Command

API: Final = ("-m", "gunicorn", "-c", "wvs_project/gunicorn_conf.py", "wvs_project.wsgi:application")
WORKER: Final = ("manage.py", "run_worker")
SCHEDULER: Final = ("manage.py", "run_scheduler")
EXECUTOR: Final = ("-m", "executor")
MIGRATE: Final = ("manage.py", "migrate", "--noinput")
CREATE_ADMIN: Final = ("manage.py", "createsuperuser", "--noinput")
_READY_SECONDS: Final = 60.0
_HEALTH_SECONDS: Final = 2.0
_STOP_SECONDS: Final = 30.0
_JOB_SECONDS: Final = 300.0


@dataclass
class Program:
    """A Python process of WVS. It is ready when `/readyz` on its metrics address answers 200."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    metrics_addr: str
    log: Path
    mark: str
    on_orphaned: signal.Signals = signal.SIGKILL
    """What it gets when the stack is killed. SIGTERM for one with children of its own, who would not hear of it."""
    _child: Child | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Start it and wait until it is ready. Raises StackError."""
        self._child = Child(_python(self.name, self.arguments, self.environment, self.log, self.mark, self.on_orphaned))
        self._child.wait_ready(self.health, limit=_READY_SECONDS)

    def health(self) -> bool:
        """Whether it says that it is ready."""
        connection = http.client.HTTPConnection(self.metrics_addr, timeout=_HEALTH_SECONDS)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def has_exited(self) -> bool:
        """Whether a started process is gone."""
        return self._child is not None and self._child.has_exited()

    def stop(self) -> None:
        """SIGTERM, a grace in which running tasks may finish, then SIGKILL. Harmless when not running."""
        if self._child is not None:
            self._child.stop(grace=_STOP_SECONDS)
            self._child = None


def run_job(
    name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path, mark: str, accept: str | None = None
) -> None:
    """Run a job to its end. Raises StackError if it fails, unless its log ends with the failure `accept`."""
    log.unlink(missing_ok=True)
    child = Child(_python(name, arguments, environment, log, mark))
    if child.join(limit=_JOB_SECONDS) != 0 and (accept is None or accept not in child.log_tail()):
        raise StackError(f"{name} failed\n{child.log_tail()}")


def _python(
    name: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    mark: str,
    on_orphaned: signal.Signals = signal.SIGKILL,
) -> Command:
    argv = [sys.executable, *arguments]
    return Command(name, argv, log, mark, environment, SOURCES, on_orphaned=on_orphaned)

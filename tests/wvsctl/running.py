"""wvsctl as a test runs it: in this process, against a real API, and with somebody who does the work."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from tasks.engine import Engine
from tasks.models import Task
from tasks.states import Status
from tests.waiting import InThread, eventually
from wvsctl.cli import app

KEYS_OF_A_WRITE = {"wsid", "task_id", "snapshot_id", "status", "replayed", "next", "task"}


@dataclass(frozen=True)
class Ran:
    """A run that is over."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What a program reads."""
        assert self.code == 0, self
        return self.read()

    def read(self) -> Any:
        """The same, however it ended."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """What a program reads of a failure."""
        assert self.code != 0, self
        error: dict[str, Any] = json.loads(self.err)["error"]
        return error

    def ok(self) -> str:
        """Assert that it succeeded; what it printed."""
        assert self.code == 0, self
        return self.out


class Wvsctl:
    """`wvsctl("task list --wsid demo")`, with the environment that the test has."""

    def __call__(self, line: str, *more: str) -> Ran:
        result = CliRunner().invoke(app, [*shlex.split(line), *more], prog_name="wvsctl")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)


def do_next(engine: Engine, wsid: str) -> InThread[None]:
    """Somebody who does the workspace's next task as soon as there is one."""

    def work() -> None:
        eventually(lambda: Task.objects.filter(workspace_id=wsid, status=Status.PENDING).exists(), "a task")
        engine.serve(wsid)

    return InThread(work)

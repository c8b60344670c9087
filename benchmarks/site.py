"""Where a benchmark measures: an embedded stack of its own in a temporary directory, on free ports, gone afterwards."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.stack import Client
from wvs_project.stack.config import SOURCES, read_stack_config
from wvs_project.stack.postgres import PostgresServer
from wvs_project.stack.processes import Child, Command
from wvs_project.stack.programs import Program
from wvs_project.stack.servers import JUICEFS
from wvs_project.stack.stack import Stack, running_stack
from wvs_project.stack.stopping import stop_signals

T = TypeVar("T")
_GRACE: Final = 20.0


@dataclass(frozen=True, slots=True)
class Site:
    """A running stack, and how much of it is wanted. Settings are those that the stack's processes have."""

    stack: Stack
    small: bool = False
    """Only whether it works: tiny sizes, whose numbers mean nothing."""

    def size(self, full: T, small: T) -> T:
        """One of the two."""
        return small if self.small else full

    @property
    def environment(self) -> dict[str, str]:
        """WVS_DB_DSN, WVS_REDIS_URL, WVS_API_URL, EXECUTOR_MOUNT_PATH, …"""
        return self.stack.environment

    @property
    def dsn(self) -> str:
        """WVS's database, as its own role."""
        return self.environment["WVS_DB_DSN"]

    @property
    def superuser_dsn(self) -> str:
        """Of the embedded PostgreSQL, to change its settings."""
        return self._postgres.superuser_dsn

    @property
    def postgres_data(self) -> Path:
        """Where the embedded PostgreSQL's processes work."""
        return self._postgres.data

    @property
    def _postgres(self) -> PostgresServer:
        server = self.stack.service("postgres")
        assert isinstance(server, PostgresServer)
        return server

    @property
    def mount(self) -> Path:
        """Where the workspaces lie: the executor's mount."""
        return Path(self.environment["EXECUTOR_MOUNT_PATH"])

    @property
    def has_juicefs(self) -> bool:
        """Whether they lie on JuiceFS; else in a plain directory, where no bare clone can be compared."""
        return (self.stack.layout.state / "file-system").read_text().strip() == JUICEFS

    def client(self) -> Client:
        """A client of the API with a connection of its own."""
        return Client(self.environment["WVS_API_URL"])

    def program(self, name: str) -> Program:
        """A WVS process of the stack. Raises KeyError."""
        program = self.stack.service(name)
        assert isinstance(program, Program)
        return program

    def variant(self, name: str, arguments: Sequence[str] = (), **environment: str) -> Program:
        """Another process for the place of `name`, not started: other arguments, if given, and other settings."""
        given = self.program(name)
        changed = {**given.environment, **environment}
        return dataclasses.replace(given, arguments=arguments or given.arguments, environment=changed)

    @contextmanager
    def without(self, *names: str) -> Iterator[None]:
        """While inside, those processes of the stack do not run."""
        programs = [self.program(name) for name in names]
        for program in programs:
            program.stop()
        try:
            yield
        finally:
            for program in programs:
                program.start()

    @contextmanager
    def instead(self, name: str, arguments: Sequence[str] = (), **environment: str) -> Iterator[Program]:
        """While inside, another process in the place of `name`; see `variant`."""
        with self.without(name), running(self.variant(name, arguments, **environment)) as other:
            yield other

    @contextmanager
    def beside(self, name: str, arguments: Sequence[str], **environment: str) -> Iterator[Child]:
        """While inside, one more process with the stack's environment; it says itself when it is ready."""
        inherited = self.program("worker").environment
        log, mark = self.stack.layout.log(name), self.stack.layout.mark
        child = Child(Command(name, [sys.executable, *arguments], log, mark, {**inherited, **environment}, SOURCES))
        try:
            yield child
        finally:
            child.stop(grace=_GRACE)


@contextmanager
def running(program: Program) -> Iterator[Program]:
    """While inside, it runs."""
    try:
        program.start()
        yield program
    finally:
        program.stop()


@contextmanager
def own_stack(*, executors: int = 0, **environment: str) -> Iterator[Stack]:
    """A stack that nobody else has, with what the environment gives it left out; `environment` is for its processes.

    Nobody starts again what dies in it. Only in the main thread. Raises StackError, StopAsked.
    """
    base = Path(tempfile.mkdtemp(prefix="wvs-bench-")).resolve()
    base.chmod(0o711)
    asked = read_stack_config()
    config = dataclasses.replace(
        asked,
        state=base / "state",
        executors=executors,
        environment={**asked.environment, **environment},
        db_dsn=None,
        redis_url=None,
        mount_path=None,
        listen_addr=None,
        metrics_addr=None,
        postgres_port=None,
        redis_port=None,
    )
    try:
        with stop_signals() as signals, running_stack(config, _say, signals) as up:
            yield up
    finally:
        shutil.rmtree(base)


@contextmanager
def own_site(*, small: bool = False, executors: int = 0, **environment: str) -> Iterator[Site]:
    """A site on a stack of its own; see `own_stack`."""
    with own_stack(executors=executors, **environment) as stack:
        yield Site(stack, small)


def _say(said: str) -> None:
    print(said, file=sys.stderr)

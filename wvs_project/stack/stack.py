"""The stack as a whole: started in order with health checks between, watched, stopped in reverse.

PostgreSQL → Valkey → JuiceFS → migrations → executors, if asked for → api → worker → scheduler.
"""

from __future__ import annotations

import signal
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from wvs_project.stack.config import StackConfig
from wvs_project.stack.credentials import Credentials
from wvs_project.stack.envfile import write_env_file
from wvs_project.stack.errors import StackError
from wvs_project.stack.juicefs import Mount
from wvs_project.stack.leftovers import clear_leftovers
from wvs_project.stack.lock import stack_lock
from wvs_project.stack.places import own_directory
from wvs_project.stack.postgres import Database, PostgresServer, data_directory
from wvs_project.stack.programs import API, CREATE_ADMIN, EXECUTOR, MIGRATE, SCHEDULER, WORKER, Program, run_job
from wvs_project.stack.servers import (
    PLAIN,
    Layout,
    Say,
    Service,
    choose_file_system,
    given_directory,
    mount_of,
    postgres_of,
    prepare,
    valkey_of,
)
from wvs_project.stack.stopping import StopSignals
from wvs_project.stack.waiting import LOOPBACK, free_port

_WATCH_SECONDS: Final = 0.2
_RESTARTS: Final = 5
# Unless given otherwise. Shorter than what we wait before we kill (`Program.stop`): running tasks are handed back.
_SHORT_GRACE: Final = {
    "WORKER_SHUTDOWN_TIMEOUT": "20s",
    "WVS_SHUTDOWN_TIMEOUT": "20s",
    "EXECUTOR_SHUTDOWN_TIMEOUT": "20s",
}
# What an executor must not be able to reach, and so is not told.
_CONTROL_PLANE: Final = ("WVS_DB_DSN", "WVS_REDIS_URL", "WVS_SECRET_KEY")
_RESTARTS_WITHIN_SECONDS: Final = 60.0


class Stack:
    """One stack on one directory. `start` and `stop` need the directory's lock: use `running_stack`."""

    def __init__(self, config: StackConfig, say: Say) -> None:
        self.config = config
        self.layout = Layout(config.state)
        self._say = say
        self._services: list[Service] = []
        self._restarts: dict[str, deque[float]] = defaultdict(deque)
        self._secrets: Credentials
        self._postgres: PostgresServer | None = None
        self._mounts: list[Path] = []
        self._executor_addrs: list[str] = []
        self.environment: dict[str, str] = {}
        """What `env` says, and what the WVS processes get."""

    def start(self) -> None:
        """Bring everything up and write `env`. Raises StackError; call `stop` then too."""
        prepare(self.layout)
        self._clear("a crashed stack left {}: cleared")
        self.layout.env_file.unlink(missing_ok=True)
        self._secrets = Credentials.of(
            self.layout.state / "secrets",
            admin_user=self.config.admin_user,
            admin_password=self.config.admin_password,
        )
        self.environment["WVS_DB_DSN"] = self.config.db_dsn or self._start_postgres()
        self.environment["WVS_REDIS_URL"] = self.config.redis_url or self._start_valkey()
        self.environment["EXECUTOR_MOUNT_PATH"] = self._file_system()
        self._run_jobs()
        self._start_executors()
        self._start_programs()
        self._write_env()

    def watch(self) -> None:
        """Until a signal: start again what has died. Raises StackError when something dies again and again."""
        while True:
            for service in self._services:
                if service.has_exited():
                    self._restart(service)
            time.sleep(_WATCH_SECONDS)

    def service(self, name: str) -> Service:
        """One that was started. Raises KeyError."""
        return {service.name: service for service in self._services}[name]

    def stop(self) -> None:
        """Stop all in reverse; nothing of the stack runs or is mounted afterwards, its data stays."""
        self.layout.env_file.unlink(missing_ok=True)
        problems = []
        while self._services:
            try:
                self._services.pop().stop()
            except StackError as error:
                problems.append(str(error))
        # Normally nothing: only what a signal interrupted between its start and our knowing of it.
        self._clear("left over at the end: {}")
        if problems:
            raise StackError("; ".join(problems))

    def _clear(self, said: str) -> None:
        found = clear_leftovers(
            self.layout.mark, postgres_data=data_directory(self.layout.state), mounts=self.layout.mountpoints()
        )
        if found:
            self._say(said.format(", ".join(found)))

    def _bring_up(self, service: Service) -> None:
        begun = time.monotonic()
        self._services.append(service)
        service.start()
        self._say(f"{service.name:<10} up in {time.monotonic() - begun:.2f} s")

    def _start_postgres(self) -> str:
        self._postgres = postgres_of(self.config, self.layout, self._secrets)
        if not self._postgres.data.is_relative_to(self.layout.state):
            self._say(f"PostgreSQL cannot run as root, and nobody cannot enter {self.layout.state}:")
            self._say(f"its data is in {self._postgres.home}")
        self._bring_up(self._postgres)
        return self._postgres.ensure(Database("wvs", self._secrets.wvs_db_password))

    def _start_valkey(self) -> str:
        valkey = valkey_of(self.config, self.layout, self._secrets)
        self._bring_up(valkey)
        return valkey.url

    def _file_system(self) -> str:
        if self.config.mount_path is not None:
            return str(given_directory(self.config.mount_path))
        if choose_file_system(self.config, self.layout, self._say) == PLAIN:
            return str(own_directory(self.layout.plain_directory, 0o755))
        mount = self._mount()
        self._bring_up(mount)
        self._mounts = [mount.path, *self._more_mounts(mount)]
        return str(mount.path)

    def _more_mounts(self, first: Mount) -> Iterator[Path]:
        """One for each executor but the first, as if they were on hosts of their own."""
        for number in range(2, self.config.executors + 1):
            volume = replace(first.volume, log=self.layout.log(f"juicefs-{number}"))
            cache = self.layout.state / f"cache-{number}"
            mount = Mount(volume, self.layout.another_mountpoint(number), cache, name=f"juicefs-{number}")
            self._bring_up(mount)
            yield mount.path

    def _mount(self) -> Mount:
        if self._postgres is None:  # WVS_DB_DSN was given: the volume's metadata still needs a server of its own
            self._start_postgres()
        assert self._postgres is not None
        return mount_of(self._postgres, self.layout, self._secrets)

    def _process_environment(self, **more: str) -> dict[str, str]:
        """What a process of the control plane reads (SPEC §11), over what we inherit."""
        ours = {
            **self.environment,
            "WVS_SECRET_KEY": self._secrets.wvs_secret_key,
            "EXECUTOR_ADDRS": ",".join(self._executor_addrs) or "local",
            **more,
        }
        if self._executor_addrs:  # it knows no mount then
            del ours["EXECUTOR_MOUNT_PATH"]
        return {**_SHORT_GRACE, **self._inherited({*ours, "EXECUTOR_MOUNT_PATH"}), **ours}

    def _inherited(self, without: Collection[str]) -> dict[str, str]:
        given = self.config.environment.items()
        return {name: value for name, value in given if name.removesuffix("_FILE") not in without}

    def _start_executors(self) -> None:
        mounts = self._mounts or [Path(self.environment["EXECUTOR_MOUNT_PATH"])]
        for number in range(1, self.config.executors + 1):
            addr, metrics = f"{LOOPBACK}:{free_port()}", f"{LOOPBACK}:{free_port()}"
            ours = {
                "EXECUTOR_MOUNT_PATH": str(mounts[(number - 1) % len(mounts)]),
                "EXECUTOR_GRPC_ADDR": addr,
                "EXECUTOR_METRICS_ADDR": metrics,
            }
            if not self._mounts:  # an ordinary directory is served by the drivers that work anywhere
                ours["EXECUTOR_CLONE_DRIVER"] = self.config.environment.get("EXECUTOR_CLONE_DRIVER", "copy")
            environment = {**_SHORT_GRACE, **self._inherited({*ours, *_CONTROL_PLANE}), **ours}
            name = f"executor-{number}"
            log = self.layout.log(name)
            self._bring_up(Program(name, EXECUTOR, environment, metrics, log, self.layout.mark))
            self._executor_addrs.append(addr)

    def _run_jobs(self) -> None:
        begun = time.monotonic()
        run_job("migrate", MIGRATE, self._process_environment(), self.layout.log("migrate"), self.layout.mark)
        # The mark lies beside the embedded data, and goes with it; of a given database we cannot know.
        embedded = None if self.config.db_dsn else self._postgres
        made = embedded.home / "admin-made" if embedded else None
        if made is None or not made.exists():
            self._create_admin()
            if made is not None:
                made.touch()
        self._say(f"{'migrations':<10} done in {time.monotonic() - begun:.2f} s")

    def _create_admin(self) -> None:
        environment = self._process_environment(
            DJANGO_SUPERUSER_USERNAME=self._secrets.wvs_admin_user,
            DJANGO_SUPERUSER_PASSWORD=self._secrets.wvs_admin_password,
            DJANGO_SUPERUSER_EMAIL="",
        )
        log = self.layout.log("create-admin")
        run_job("create admin", CREATE_ADMIN, environment, log, self.layout.mark, accept="already taken")

    def _start_programs(self) -> None:
        listen = self.config.listen_addr or f"{LOOPBACK}:{free_port()}"
        metrics = self.config.metrics_addr or f"{LOOPBACK}:{free_port()}"
        api = self._program("api", API, metrics, WVS_LISTEN_ADDR=listen)
        api.on_orphaned = signal.SIGTERM  # gunicorn's worker is a child of its own
        self._bring_up(api)
        self.environment |= {"WVS_API_URL": f"http://{listen}", "WVS_METRICS_URL": f"http://{metrics}"}
        self._bring_up(self._program("worker", WORKER, f"{LOOPBACK}:{free_port()}"))
        self._bring_up(self._program("scheduler", SCHEDULER, f"{LOOPBACK}:{free_port()}"))
        programs = [service for service in self._services if isinstance(service, Program)]
        self.environment["WVS_METRICS_URLS"] = ",".join(f"http://{program.metrics_addr}" for program in programs)

    def _program(self, name: str, arguments: tuple[str, ...], metrics_addr: str, **more: str) -> Program:
        environment = self._process_environment(WVS_METRICS_ADDR=metrics_addr, **more)
        return Program(name, arguments, environment, metrics_addr, self.layout.log(name), self.layout.mark)

    def _write_env(self) -> None:
        pids = {f"WVS_PID_{service.name.upper().replace('-', '_')}": str(service.pid) for service in self._services}
        admin = {
            "WVS_ADMIN_USER": self._secrets.wvs_admin_user,
            "WVS_ADMIN_PASSWORD": self._secrets.wvs_admin_password,
        }
        # What `manage.py` needs to be used beside the stack.
        ours = self._process_environment()
        more = {name: ours[name] for name in ("WVS_SECRET_KEY", "EXECUTOR_ADDRS")}
        write_env_file(self.layout.env_file, {**self.environment, **more, **self._shown_at(), **admin, **pids})

    def _shown_at(self) -> dict[str, str]:
        """Where each process that shows metrics does."""
        shown = [service for service in self._services if isinstance(service, Program | Mount)]
        return {
            f"WVS_METRICS_URL_{service.name.upper().replace('-', '_')}": f"http://{service.metrics_addr}"
            for service in shown
        }

    def _restart(self, service: Service) -> None:
        recent = self._restarts[service.name]
        recent.append(time.monotonic())
        while recent[0] < recent[-1] - _RESTARTS_WITHIN_SECONDS:
            recent.popleft()
        if len(recent) > _RESTARTS:
            raise StackError(f"{service.name} died {len(recent)} times in {_RESTARTS_WITHIN_SECONDS:g} s: see its log")
        self._say(f"{service.name} died: starting it again")
        with suppress(StackError):  # what is left of it; the start says what matters
            service.stop()
        service.start()
        self._write_env()
        self._say(f"{service.name} is up again (pid {service.pid})")


@contextmanager
def running_stack(config: StackConfig, say: Say, signals: StopSignals) -> Iterator[Stack]:
    """A stack that is ready, stopped at the end however that comes. Raises StackIsRunning, StackError."""
    own_directory(config.state)
    with stack_lock(config.state):
        stack = Stack(config, say)
        try:
            stack.start()
            yield stack
        finally:
            signals.ignore()  # a second Ctrl-C must not leave half a stop
            begun = time.monotonic()
            stack.stop()
            say(f"stopped in {time.monotonic() - begun:.2f} s; data is kept in {config.state}")

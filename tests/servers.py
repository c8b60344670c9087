"""The tests' servers, started before Django reads its settings: loaded early by `-p tests.servers`.

Each process that runs tests (every xdist worker, or the one process of a run without xdist) has its own PostgreSQL
and Valkey, and a JuiceFS volume once a test asks for one. All lies in one directory below /tmp that goes at the end;
what a killed run left is cleared by the next.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from wvs_project.stack.juicefs import EXECUTOR_CACHES, Mount, Volume, mounted, mountpoints, unmount_lazily
from wvs_project.stack.leftovers import clear_leftovers
from wvs_project.stack.places import PASSABLE
from wvs_project.stack.postgres import Database, PostgresServer
from wvs_project.stack.valkey import ValkeyServer

PREFIX = "wvs-test-"
# On the xdist controller Django's settings are read too, but nothing may connect.
NOBODY_LISTENS = {
    "WVS_DB_DSN": "postgresql://nobody@127.0.0.1:1/no_server_on_the_xdist_controller",
    "WVS_REDIS_URL": "redis://127.0.0.1:1/0",
}
ENVIRONMENT = {"WVS_SECRET_KEY": "for-tests-only-" + "x" * 50, "EXECUTOR_ADDRS": "local"}


@dataclass
class JuiceFSVolume:
    """A formatted volume and its first mount, with the executor's caches."""

    volume: Volume
    first: Mount
    base: Path
    _count: int = field(default=0, init=False)

    @property
    def mount(self) -> Path:
        return self.first.path

    @property
    def meta_url(self) -> str:
        return self.volume.meta_url

    @contextmanager
    def second_mount(self, **caches: str) -> Iterator[Path]:
        """Another mount of the same volume; `attr_cache="1.0"` and the like change its cache times (seconds)."""
        self._count += 1
        place = self.base / f"second-{self._count}"
        options = {**EXECUTOR_CACHES, **{name.replace("_", "-"): value for name, value in caches.items()}}
        with mounted(Mount(self.volume, place / "ws", place / "cache", caches=options)) as mount:
            yield mount.path


class Servers:
    """The servers of one testing process. `base` holds all they own."""

    def __init__(self) -> None:
        self._exit = ExitStack()
        self.base = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
        self.base.chmod(PASSABLE)
        # Locked before it has its name: a directory with a free lock is a killed run's, whoever looks when.
        self._lock = (self.base / "lock.new").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.base / "lock.new").rename(self.base / "lock")
        given = os.environ.get("WVS_TEST_POSTGRES")  # another version's directory of bin/, lib/ and share/
        self.postgres = PostgresServer(
            self.base,
            log=self.base / "postgres.log",
            password=secrets.token_urlsafe(16),
            durable=False,
            installation=Path(given) if given else None,
        )
        self.valkey = ValkeyServer(self.base, log=self.base / "valkey.log", password=secrets.token_urlsafe(16))
        self._juicefs: JuiceFSVolume | None = None

    def start(self) -> dict[str, str]:
        """Start the two that every test may use. Returns the environment that Django's settings read."""
        try:
            self._exit.callback(self._remove)
            self._exit.callback(self.postgres.stop)
            self.postgres.start()
            database = Database("wvs", secrets.token_urlsafe(16), may_create_databases=True)
            dsn = self.postgres.ensure(database)
            self._exit.callback(self.valkey.stop)
            self.valkey.start()
        except BaseException:
            self.stop()
            raise
        return {"WVS_DB_DSN": dsn, "WVS_REDIS_URL": self.valkey.url, "EXECUTOR_MOUNT_PATH": str(self.base / "ws")}

    def juicefs(self) -> JuiceFSVolume:
        """The volume, formatted and mounted at the first call."""
        if self._juicefs is None:
            self._juicefs = self._mount_juicefs()
        return self._juicefs

    def _mount_juicefs(self) -> JuiceFSVolume:
        database = Database("juicefs_meta", secrets.token_urlsafe(16))
        self.postgres.ensure(database)
        volume = Volume(
            meta_url=f"postgres://juicefs_meta@127.0.0.1:{self.postgres.port}/juicefs_meta?sslmode=disable",
            password=database.password,
            storage=self.base / "objects",
            log=self.base / "juicefs.log",
            mark=str(self.base),
        )
        volume.format()
        mount = self._exit.enter_context(mounted(Mount(volume, self.base / "juicefs", self.base / "cache")))
        return JuiceFSVolume(volume, mount, self.base)

    def stop(self) -> None:
        """Stop all in reverse and leave nothing behind."""
        self._exit.close()

    def _remove(self) -> None:
        for mount in mounts_below(self.base):  # of a test that failed
            unmount_lazily(mount)
        self.postgres.destroy()
        shutil.rmtree(self.base)
        self._lock.close()


def clear_killed_runs() -> None:
    """End what test runs left that were killed: their lock is free though their directory is there."""
    for base in Path(tempfile.gettempdir()).resolve().glob(f"{PREFIX}*"):
        with suppress(OSError), (base / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            clear_leftovers(str(base), postgres_data=base / "postgres" / "data", mounts=mounts_below(base))
            shutil.rmtree(base, ignore_errors=True)


def mounts_below(base: Path) -> list[Path]:
    """Innermost first."""
    return [place for place in reversed(mountpoints()) if place.is_relative_to(base)]


def _runs_tests_here(config: pytest.Config) -> bool:
    options = config.known_args_namespace
    if options.help or options.version or options.collectonly:
        return False
    if "PYTEST_XDIST_WORKER" in os.environ:
        return True
    return not getattr(options, "numprocesses", None)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Start the servers and tell Django's settings of them, before pytest-django reads the settings."""
    os.environ.update(ENVIRONMENT)
    if not _runs_tests_here(early_config):
        os.environ.update(NOBODY_LISTENS)
        return
    clear_killed_runs()
    servers = Servers()
    os.environ.update(servers.start())
    early_config.add_cleanup(servers.stop)
    early_config.stash[SERVERS] = servers


SERVERS = pytest.StashKey[Servers]()


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    """This process's servers."""
    return pytestconfig.stash[SERVERS]


@pytest.fixture(scope="session")
def postgres_server(servers: Servers) -> PostgresServer:
    """The running PostgreSQL 18. Its `superuser_dsn` opens everything; Django's own connection is WVS_DB_DSN."""
    return servers.postgres


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    """The running Valkey's URL. It belongs to this process alone, not to one test."""
    return servers.valkey.url


@pytest.fixture(scope="session")
def juicefs_volume(servers: Servers) -> JuiceFSVolume:
    """A mounted JuiceFS volume: only for tests marked `fuse`."""
    return servers.juicefs()


@pytest.fixture
def juicefs_dir(juicefs_volume: JuiceFSVolume) -> Iterator[Path]:
    """A directory of its own on the JuiceFS mount (0755), gone after the test."""
    directory = Path(tempfile.mkdtemp(prefix="t", dir=juicefs_volume.mount))
    directory.chmod(0o755)
    yield directory
    remove_tree(directory)


@pytest.fixture
def workdir(servers: Servers) -> Iterator[Path]:
    """A directory of its own on an ordinary disk (0755, every uid may enter it), gone after the test."""
    directory = Path(tempfile.mkdtemp(prefix="work-", dir=servers.base))
    directory.chmod(0o755)
    yield directory
    remove_tree(directory)


def remove_tree(directory: Path) -> None:
    """rmtree that also passes directories a test has closed to their owner."""
    if os.geteuid() != 0:
        # By descriptors: a test's tree may be deeper than a path can be long.
        for _, directories, _, descriptor in os.fwalk(directory):
            for child in directories:
                if stat.S_ISDIR(os.stat(child, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    os.chmod(child, 0o700, dir_fd=descriptor)  # before the walk goes into it
    shutil.rmtree(directory)


def environment_of_servers() -> Mapping[str, str]:
    """What a process started by a test needs to find this process's servers."""
    names = ("WVS_DB_DSN", "WVS_REDIS_URL", "EXECUTOR_MOUNT_PATH", *ENVIRONMENT)
    return {name: os.environ[name] for name in names}

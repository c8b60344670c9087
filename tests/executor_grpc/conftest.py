"""Workspaces whose executor is in this process, or a service in one of its own: the same tests for both."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from executor import failpoints
from tests.executor.conftest import remove
from tests.executor.scene import Site
from tests.executor_grpc.served import RemoteSite, Served, served
from tests.servers import JuiceFSVolume, Servers
from wvs_project.stack.juicefs import juicefs_program

IN_PROCESS, OVER_GRPC = "in process", "over gRPC"
MakeSite = Callable[..., Site]


class Services:
    """Services that several tests share: one for each set of settings on each volume, kept until the session ends."""

    def __init__(self, base: Path, exit_stack: ExitStack) -> None:
        self._base = base
        self._exit = exit_stack
        self._made: dict[tuple[object, ...], Served] = {}

    def on(self, mount: Path, **settings: str) -> Served:
        key = (mount, *sorted(settings.items()))
        if key not in self._made:
            log = self._base / f"executor-{len(self._made)}.log"
            self._made[key] = self._exit.enter_context(served(mount, log, **settings))
        return self._made[key]


@pytest.fixture(scope="session")
def services(servers: Servers) -> Iterator[Services]:
    with ExitStack() as exit_stack:
        yield Services(servers.base, exit_stack)


@pytest.fixture(scope="session")
def plain_volume(servers: Servers) -> Path:
    """An ordinary directory for workspaces, one for the whole session."""
    path = servers.base / "plain-volume"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture(params=["copy", pytest.param("juicefs", marks=pytest.mark.fuse)])
def driver(request: pytest.FixtureRequest) -> str:
    """The clone driver under test."""
    name: str = request.param
    return name


@pytest.fixture
def mount(driver: str, request: pytest.FixtureRequest) -> Path:
    """The driver's volume."""
    if driver == "juicefs":
        volume: JuiceFSVolume = request.getfixturevalue("juicefs_volume")
        return volume.mount
    path: Path = request.getfixturevalue("plain_volume")
    return path


@pytest.fixture(params=[IN_PROCESS, OVER_GRPC])
def kind(request: pytest.FixtureRequest) -> str:
    """Which of the two executors."""
    name: str = request.param
    return name


@pytest.fixture
def make_site(kind: str, driver: str, mount: Path, services: Services) -> Iterator[MakeSite]:
    """Makes workspaces; `armed` is what the executor's failpoints do, `quiesce` its time-out in seconds."""
    made: list[Site] = []

    def make(*, quiesce: float = 5.0, armed: str = "", juicefs: Path | None = None) -> Site:
        if kind == IN_PROCESS:
            more = {} if juicefs is None else {"juicefs": juicefs}
            failpoints.configure(armed)
            made.append(Site(mount, driver, quiesce_timeout=quiesce, **more))
            return made[-1]
        settings = {"EXECUTOR_CLONE_DRIVER": driver, "EXECUTOR_QUIESCE_TIMEOUT": f"{quiesce}s"}
        if armed:
            settings["WVS_FAILPOINTS"] = armed
        if juicefs is not None:
            settings["EXECUTOR_JUICEFS"] = str(juicefs)
        made.append(RemoteSite(mount, driver, services.on(mount, **settings).addr))
        return made[-1]

    yield make
    for site in made:
        site.executor.close()
        delete(site)


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A workspace that is still to be initialised."""
    return make_site()


def delete(site: Site) -> None:
    """What a test's workspace left on the volume."""
    if site.driver == "juicefs":
        subprocess.run([juicefs_program(), "rmr", "--skip-trash", site.ws.root], check=False, capture_output=True)
    remove(site.ws.root)

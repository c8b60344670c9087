"""Workspaces on every kind of volume: JuiceFS where FUSE is, an ordinary directory anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor import failpoints
from executor.contract import StopSignal
from tests.executor.scene import Site
from tests.servers import JuiceFSVolume

MakeSite = Callable[..., Site]


@pytest.fixture(params=["copy", pytest.param("juicefs", marks=pytest.mark.fuse)])
def driver(request: pytest.FixtureRequest) -> str:
    """The clone driver under test: by copying, which runs anywhere, and JuiceFS's own."""
    name: str = request.param
    return name


@pytest.fixture
def make_site(driver: str, request: pytest.FixtureRequest) -> Iterator[MakeSite]:
    """Makes workspaces on the driver's volume; keyword arguments change the executor's configuration."""
    if driver == "juicefs":
        volume: JuiceFSVolume = request.getfixturevalue("juicefs_volume")
        mount = volume.mount
    else:
        mount = request.getfixturevalue("workdir")
    made: list[Site] = []

    def make(**settings: object) -> Site:
        made.append(Site(mount, driver, **settings))
        return made[-1]

    yield make
    for site in made:
        remove(site.ws.root)


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A workspace that is still to be initialised."""
    return make_site()


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    signal = StopSignal()
    yield signal
    signal.close()


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.disarm_all()


def remove(root: Path) -> None:
    """A workspace with whatever a test left in its place."""
    if root.is_symlink() or root.is_file():
        root.unlink()
    elif root.exists():
        shutil.rmtree(root)

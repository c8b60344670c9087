"""Workspaces on every kind of volume: JuiceFS where FUSE is, an ordinary directory anywhere."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.executor.scene import Site
from tests.executor.trees import plant_small
from tests.servers import JuiceFSVolume, Servers, remove_tree
from wvs_project.stack.juicefs import Mount, Volume, juicefs_program, mounted, unmount_lazily

MakeSite = Callable[..., Site]
SMALL_VOLUME_ENTRIES = 400


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
        if driver == "juicefs":
            subprocess.run([juicefs_program(), "rmr", "--skip-trash", site.ws.root], check=False, capture_output=True)
        remove(site.ws.root)


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A workspace that is still to be initialised."""
    return make_site()


@pytest.fixture
def old(site: Site) -> str:
    """The id of a tree that `current` does not point at any more, beside `initial` and a snapshot."""
    plant_small(site.init())
    site.switch_to(site.snapshot())
    superseded = site.live_id
    site.switch_to(site.snapshots[0])
    return superseded


@pytest.fixture
def small_site(driver: str, servers: Servers) -> Iterator[Site]:
    """A workspace on a volume of its own with room for a few hundred files of one page; uid 0 only."""
    base = servers.base / f"second-{secrets.token_hex(4)}"
    with _small_juicefs(base) if driver == "juicefs" else _small_tmpfs(base) as mount:
        yield Site(mount, driver)
    shutil.rmtree(base)


@contextmanager
def _small_tmpfs(base: Path) -> Iterator[Path]:
    mount = base / "ws"
    mount.mkdir(parents=True)
    size = SMALL_VOLUME_ENTRIES * os.sysconf("SC_PAGE_SIZE")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "wvs-test", str(mount)], check=True)
    try:
        yield mount
    finally:
        unmount_lazily(mount)


@contextmanager
def _small_juicefs(base: Path) -> Iterator[Path]:
    base.mkdir()
    meta = f"sqlite3://{base}/meta.db"
    volume = Volume(meta, password="", storage=base / "objects", log=base / "log", mark=str(base), name="small")
    volume.format()
    limit = ["config", meta, "--inodes", str(SMALL_VOLUME_ENTRIES), "--yes"]
    subprocess.run([juicefs_program(), *limit], check=True, capture_output=True)
    with mounted(Mount(volume, base / "ws", base / "cache")) as mount:
        yield mount.path


def remove(root: Path) -> None:
    """A workspace with whatever a test left in its place."""
    if root.is_symlink() or root.is_file():
        root.unlink()
    elif root.exists():
        remove_tree(root)

"""A full volume: the task ends NO_SPACE, staging is gone, the agent goes on, and a drop makes room (H10)."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.contract import ExecutorFault, FaultReason
from executor.local import LocalExecutor
from tests.executor.calls import Call
from tests.executor.scene import Site
from tests.executor.trees import portrait
from tests.servers import Servers
from wvs_agent import QuiesceWatcher
from wvs_project.stack.juicefs import Mount, Volume, juicefs_program, mounted

pytestmark = pytest.mark.rule("H10")
MIB = 1 << 20


@pytest.fixture
def tmpfs(workdir: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "wvs-test", str(workdir)], check=True)
    try:
        yield workdir
    finally:
        subprocess.run(["umount", "-l", str(workdir)], check=True)


@pytest.fixture(scope="module")
def little_juicefs(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A volume of 1 GiB and 300 inodes, its metadata in a file: full of sparse files at once."""
    base = tmp_path_factory.mktemp("little")
    volume = Volume(
        meta_url=f"sqlite3://{base}/meta.db",
        password="",
        storage=base / "objects",
        log=base / "juicefs.log",
        mark=str(servers.base),
    )
    volume.format()
    subprocess.run(
        [juicefs_program(), "config", volume.meta_url, "--capacity", "1", "--inodes", "300", "--yes", "--no-color"],
        check=True,
        capture_output=True,
        env=volume.environment(),
    )
    with mounted(Mount(volume, base / "ws", base / "cache")) as mount:
        yield mount.path


@pytest.fixture(params=["copy", "juicefs"])
def little(request: pytest.FixtureRequest) -> Iterator[Site]:
    """An initialised workspace on a volume with little room."""
    mount: Path = request.getfixturevalue("tmpfs" if request.param == "copy" else "little_juicefs")
    site = Site(mount, request.param)
    site.init()
    yield site
    shutil.rmtree(site.ws.root)


def free_bytes(site: Site) -> int:
    state = os.statvfs(site.config.mount_path)
    return state.f_bavail * state.f_frsize


def plant_half(site: Site) -> None:
    """More than half of the room that is left: it fits once, a clone of it does not."""
    size = free_bytes(site) * 6 // 10
    with (site.tree / "half").open("wb") as file:
        if site.driver == "juicefs":
            file.truncate(size)  # counts in full, costs nothing
        else:
            file.write(b"x" * size)


def fill(site: Site) -> None:
    """The rest of the room, to the last page."""
    with contextlib.suppress(OSError), (site.tree / "rest").open("wb", buffering=0) as file:
        if site.driver == "juicefs":
            file.truncate(max(free_bytes(site) - MIB, 0))
            file.seek(0, os.SEEK_END)
        while True:
            file.write(b"x" * 65536)
            os.fsync(file.fileno())


def no_space(outcome: object) -> bool:
    return isinstance(outcome, ExecutorFault) and outcome.reason is FaultReason.NO_SPACE and outcome.permanent


@pytest.mark.root
@pytest.mark.fuse
def test_a_clone_that_does_not_fit_is_no_space_and_leaves_nothing(little: Site) -> None:
    plant_half(little)
    before, free = portrait(little.tree), free_bytes(little)
    assert no_space(Call(little.snapshot).outcome())
    assert little.snapshots == little.staged == []
    assert portrait(little.tree) == before
    assert free_bytes(little) >= free - MIB
    (little.tree / "half").unlink()
    assert little.snapshot() in little.snapshots


@pytest.mark.root
@pytest.mark.fuse
def test_a_switch_that_does_not_fit_changes_nothing(little: Site) -> None:
    plant_half(little)
    (little.tree / "half").rename(little.ws.root / "aside")
    (little.tree / "kept").write_bytes(b"x")
    snapshot = little.snapshot()
    (little.ws.root / "aside").rename(little.tree / "half")
    fill(little)
    assert no_space(Call(lambda: little.switch_to(snapshot)).outcome())
    assert (little.live_id, little.lives, little.staged) == ("initial", ["initial"], [])


@pytest.mark.root
@pytest.mark.fuse
def test_on_a_full_volume_a_drop_still_works_and_makes_room(little: Site) -> None:
    with (little.tree / "some").open("wb") as file:
        file.write(b"x" * (MIB // 2))
    snapshot = little.snapshot()
    (little.tree / "some").unlink()
    fill(little)
    assert no_space(Call(little.snapshot).outcome())
    assert little.snapshots == [snapshot]
    assert little.staged == []
    outcome = little.run(little.drop_request(snapshot))
    assert outcome.warnings == ()
    assert little.snapshots == little.staged == []
    (little.tree / "rest").unlink()
    assert little.snapshot() in little.snapshots


@pytest.mark.root
@pytest.mark.fuse
@pytest.mark.parametrize("little", ["juicefs"], indirect=True)
def test_a_clone_with_too_many_inodes_is_no_space(little: Site) -> None:
    for number in range(200):
        (little.tree / f"file-{number}").touch()
    assert no_space(Call(little.snapshot).outcome())
    assert little.snapshots == little.staged == []


@pytest.mark.root
@pytest.mark.fuse
@pytest.mark.parametrize("early", [False, True], ids=["cloned in the freeze", "copied before"])
def test_an_attached_agent_is_never_left_frozen_by_a_full_volume(little: Site, early: bool) -> None:
    heard: list[str] = []
    little.executor = LocalExecutor(dataclasses.replace(little.config, precopy=early))
    plant_half(little)
    with QuiesceWatcher(little.ws.root, lambda: heard.append("freeze"), lambda _: heard.append("resume")):
        assert no_space(Call(little.snapshot).outcome())
        Call(lambda: (little.tree / "half").unlink()).result()
        little.snapshot()
    # What is full before the freeze does not freeze anybody.
    assert heard == ["freeze", "resume"] * (1 if early else 2)
    assert little.staged == []

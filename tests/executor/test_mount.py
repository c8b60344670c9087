"""The volume itself: not mounted, dead, unmounted in the middle, or mounted in a way that loses data (SPEC §2)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from executor import failpoints
from executor.config import ExecutorConfigError
from executor.contract import ExecutorFault, FaultReason, StopSignal
from tests.executor.calls import Call
from tests.executor.scene import Site
from tests.executor.trees import plant_small
from tests.servers import Servers
from tests.waiting import eventually
from wvs_project.stack.juicefs import Mount, Volume, is_dead, mounted, unmount_lazily

pytestmark = [pytest.mark.fuse]


@pytest.fixture(scope="module")
def volume(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """A volume of its own, its metadata in a file, to be mounted and unmounted at will."""
    base = tmp_path_factory.mktemp("own")
    made = Volume(f"sqlite3://{base}/meta.db", "", base / "objects", base / "juicefs.log", mark=str(servers.base))
    made.format()
    return made


@pytest.fixture
def mount(volume: Volume, tmp_path: Path) -> Iterator[Mount]:
    with mounted(Mount(volume, tmp_path / "ws", tmp_path / "cache")) as made:
        yield made


@dataclass
class WritingBack(Mount):
    """Mounted as it must not be."""

    def _options(self) -> list[str]:
        return [*super()._options(), "--writeback"]


def unavailable(outcome: object) -> bool:
    return isinstance(outcome, ExecutorFault) and outcome.reason is FaultReason.UNAVAILABLE and not outcome.permanent


@contextmanager
def killed(mount: Mount) -> Iterator[None]:
    """Every process of the mount is dead, and the kernel still lists it."""
    assert mount.pid is not None
    os.killpg(mount.pid, signal.SIGKILL)
    eventually(lambda: is_dead(mount.path), "the mount is dead")
    try:
        yield
    finally:
        unmount_lazily(mount.path)
        mount.stop()


def test_an_unmounted_volume_is_unavailable_and_nothing_is_written_into_the_empty_place(mount: Mount) -> None:
    site = Site(mount.path, "juicefs")
    plant_small(site.init())
    snapshot = site.snapshot()
    newcomer, create = Site(mount.path, "juicefs"), site.create_request()
    requests = [create, site.switch_request(snapshot), site.drop_request(snapshot)]
    mount.stop()
    assert os.listdir(mount.path) == []  # noqa: PTH208
    for request in requests:
        outcome = Call(partial(site.run, request)).outcome()
        assert unavailable(outcome)
        assert isinstance(outcome, ExecutorFault)
        assert not outcome.begun  # it costs no attempt
        assert unavailable(Call(partial(site.probe, request)).outcome())
    assert unavailable(Call(newcomer.init).outcome())
    assert os.listdir(mount.path) == []  # noqa: PTH208
    mount.start()
    assert site.run(site.again(create)).already_done is False
    assert site.snapshots == sorted([snapshot, create.snapshot_id or ""])


@pytest.mark.parametrize("point", ["create.staged", "create.cloned", "create.described"])
def test_a_mount_that_dies_in_the_middle_is_unavailable_and_publishes_nothing(mount: Mount, point: str) -> None:
    site = Site(mount.path, "juicefs")
    plant_small(site.init())
    create = site.create_request()
    with ExitStack() as dead:
        failpoints.arm(point, lambda: dead.enter_context(killed(mount)))
        assert unavailable(Call(lambda: site.run(create)).outcome())
    # The next attempt waits for the dead session's lock, which the metadata engine frees within about a minute.
    mount.start()
    assert site.snapshots == []
    assert site.staged == [f"{create.task_id}.{create.fence}"]


def test_a_dead_mount_never_makes_a_snapshot_count_as_missing(mount: Mount) -> None:
    site = Site(mount.path, "juicefs")
    site.init()
    snapshot = site.snapshot()
    requests = [site.switch_request(snapshot), site.drop_request(snapshot)]
    with killed(mount):
        for request in requests:
            assert unavailable(Call(partial(site.run, request)).outcome())
            assert unavailable(Call(partial(site.probe, request)).outcome())


class TakesAway(StopSignal):
    """Asked whether to stop, right before the work begins, it takes the mount away, and may put another in its place.

    In the thread that asks: what it starts lives as long as that.
    """

    def __init__(self, mount: Mount, *, again: bool) -> None:
        super().__init__()
        self._mount: Mount | None = mount
        self._again = again

    def check(self) -> None:
        mount, self._mount = self._mount, None
        if mount is not None:
            with killed(mount):
                pass
            if self._again:
                mount.start()


@pytest.fixture(params=[False, True], ids=["unmounted", "mounted_anew"])
def taken(request: pytest.FixtureRequest, mount: Mount) -> Iterator[TakesAway]:
    signal = TakesAway(mount, again=request.param)
    yield signal
    signal.close()


@pytest.mark.rule("H8")
def test_what_is_not_found_while_the_volume_is_unmounted_is_not_missing(mount: Mount, taken: TakesAway) -> None:
    site = Site(mount.path, "juicefs")
    site.init()
    create = site.create_request()
    site.run(create)
    with pytest.raises(ExecutorFault) as raised:
        site.executor.probe(site.again(create), stop=taken)
    assert unavailable(raised.value)


def test_what_is_made_below_the_mount_point_while_the_volume_is_unmounted_is_not_made(mount: Mount) -> None:
    site = Site(mount.path, "juicefs")

    def unmount() -> None:
        failpoints.disarm_all()
        unmount_lazily(mount.path)

    failpoints.arm("init.ground", unmount)
    assert unavailable(Call(partial(site.run, site.init_request())).outcome())


def test_a_dead_mount_stops_the_start_and_says_which_setting_means_it(mount: Mount) -> None:
    with killed(mount):
        for driver in ("auto", "juicefs", "copy"):
            with pytest.raises(ExecutorConfigError, match="EXECUTOR_MOUNT_PATH"):
                Site(mount.path, driver)


def test_a_plain_directory_is_no_juicefs_mount(tmp_path: Path) -> None:
    with pytest.raises(ExecutorConfigError, match=r"EXECUTOR_CLONE_DRIVER=juicefs.*no JuiceFS mount"):
        Site(tmp_path, "juicefs")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_below_a_mount_is_not_the_volume(mount: Mount) -> None:
    (mount.path / "below").mkdir()
    with pytest.raises(ExecutorConfigError, match="EXECUTOR_MOUNT_PATH"):
        Site(mount.path / "below", "juicefs")


@pytest.mark.root
def test_a_mount_that_writes_back_is_refused(volume: Volume, tmp_path: Path) -> None:
    with mounted(WritingBack(volume, tmp_path / "ws", tmp_path / "cache")) as mount:
        for driver in ("auto", "juicefs"):
            with pytest.raises(ExecutorConfigError, match="--writeback"):
                Site(mount.path, driver)


def test_auto_finds_juicefs(mount: Mount) -> None:
    assert Site(mount.path, "auto").executor.driver_name == "juicefs"

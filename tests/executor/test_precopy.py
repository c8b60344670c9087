"""A snapshot that was copied while the agent ran is what a clone in the freeze would be (SPEC §7; H1, H2, H3)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from executor import failpoints
from executor.contract import Outcome
from tests.executor.conftest import MakeSite
from tests.executor.restless import POINTS, Restless, exchange, grow_old, put_back, unwatched
from tests.executor.scene import LIMIT, Site
from tests.executor.trees import Face, portrait
from wvs_agent import QuiesceWatcher

pytestmark = [pytest.mark.rule("H1"), pytest.mark.rule("H2"), pytest.mark.rule("H3")]


def nothing() -> None: ...


class Scene:
    """A site whose agent does what the test says, until it is asked to stand still."""

    def __init__(self, site: Site, log: pytest.LogCaptureFixture) -> None:
        self.site = site
        self.log = log
        self.tree = site.init()
        self.frozen: dict[bytes, Face] = {}
        self.last_words: Callable[[], None] = nothing
        self.resumed: Callable[[], None] = nothing

    @contextmanager
    def attached(self) -> Iterator[None]:
        with QuiesceWatcher(self.site.ws.root, lambda: self.last_words(), lambda _: self.resumed()):
            yield

    def snapshot(self) -> tuple[dict[bytes, Face], Outcome]:
        """Take one; what it holds. What the tree held while it stood still is in `frozen`."""
        failpoints.arm("create.frozen", self._look)
        request = self.site.create_request()
        outcome = self.site.run(request)
        assert request.snapshot_id is not None
        assert self.site.staged == []
        return portrait(self.site.snapshot_tree(request.snapshot_id)), outcome

    def _look(self) -> None:
        self.frozen = portrait(self.tree)

    def plant_twins(self, *, few: bool = False) -> tuple[Path, Path]:
        """Two directories which differ in nothing but the bytes of their files.

        Beside them so many others that a clone is worth its command, unless there are to be `few`.
        """
        if not few:
            (self.tree / "others").mkdir()
            for number in range(20):
                (self.tree / "others" / f"{number}").touch()
        made = []
        for name, letter in (("top/in", b"o"), ("other", b"x")):
            directory = self.tree / name
            (directory / "deep").mkdir(parents=True)
            for path in (directory / "file", directory / "deep" / "file"):
                path.write_bytes(letter * 100)
                put_back(path)
            made.append(directory)
        return made[0], made[1]

    def assert_precopied(self, outcome: Outcome) -> None:
        """Unless the machine was too busy for it."""
        assert precopied(outcome) or unwatched(self.log)


@pytest.fixture
def scene(site: Site, caplog: pytest.LogCaptureFixture) -> Scene:
    return Scene(site, caplog)


def precopied(outcome: Outcome) -> bool:
    """Whether the copy was made before the freeze: else a clone was made in it."""
    return "precopy" in outcome.timings and "clone" not in outcome.timings


@pytest.mark.parametrize("seed", range(4))
def test_whatever_changes_at_whatever_moment_the_snapshot_is_what_stood_still(scene: Scene, seed: int) -> None:
    agent = Restless(scene.tree, seed, attributes=False)
    agent.plant()
    scene.last_words = lambda: agent.stir(3)
    for point in POINTS:
        failpoints.arm(point, lambda: agent.stir(agent.dice.choice([0, 4])))
    with scene.attached():
        for _ in range(3):
            taken, outcome = scene.snapshot()
            assert taken == scene.frozen
            scene.assert_precopied(outcome)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_attributes_change_the_snapshot_has_them_as_they_stood_still(scene: Scene, seed: int) -> None:
    agent = Restless(scene.tree, seed, attributes=True)
    agent.plant()
    agent.change(5)
    scene.last_words = lambda: agent.change(2)
    for point in POINTS:
        failpoints.arm(point, lambda: agent.stir(agent.dice.choice([0, 4])))
    with scene.attached():
        for _ in range(3):
            taken, _ = scene.snapshot()
            assert taken == scene.frozen


@pytest.mark.parametrize("seed", range(2))
def test_an_agent_that_never_rests_until_it_is_frozen_has_snapshots_of_its_moments(scene: Scene, seed: int) -> None:
    agent = Restless(scene.tree, seed, attributes=True)
    agent.plant()
    runs, still, over = threading.Event(), threading.Event(), threading.Event()
    runs.set()

    def work() -> None:
        while not over.is_set():
            still.set()
            runs.wait(LIMIT)
            still.clear()
            with suppress(OSError):
                agent.change(1)

    def stop() -> None:
        runs.clear()
        assert still.wait(LIMIT)

    scene.last_words, scene.resumed = stop, runs.set
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        with scene.attached():
            for _ in range(4):
                taken, _ = scene.snapshot()
                assert taken == scene.frozen
    finally:
        over.set()
        runs.set()
        thread.join(LIMIT)


@pytest.mark.parametrize("few", [False, True], ids=["many entries", "few entries"])
@pytest.mark.parametrize("young", [False, True], ids=["of old", "touched right before"])
@pytest.mark.parametrize("whole", [False, True], ids=["the directory", "its parent"])
def test_a_directory_that_was_another_one_during_the_clone_is_copied_anew(
    scene: Scene, whole: bool, young: bool, few: bool
) -> None:
    one, other = scene.plant_twins(few=few)
    if whole:
        (scene.tree / "elsewhere").mkdir()
        other = other.rename(scene.tree / "elsewhere" / "in")
        one, other = one.parent, other.parent
    grow_old()
    if young:
        (one.parent / "new").touch()
    for point in ("create.looked", "create.copied"):
        failpoints.arm(point, lambda: exchange(one, other))
    with scene.attached():
        taken, outcome = scene.snapshot()
    assert taken == scene.frozen
    scene.assert_precopied(outcome)


def write_unseen(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"?")
    put_back(path)


@pytest.mark.parametrize("few", [False, True], ids=["many entries", "few entries"])
@pytest.mark.parametrize("point", POINTS)
def test_a_write_that_only_the_ctime_tells_of_is_in_the_snapshot(scene: Scene, point: str, few: bool) -> None:
    one, _ = scene.plant_twins(few=few)
    grow_old()
    failpoints.arm(point, lambda: write_unseen(one / "file"))
    with scene.attached():
        taken, outcome = scene.snapshot()
    assert taken == scene.frozen
    scene.assert_precopied(outcome)


@pytest.mark.parametrize("removes", [False, True], ids=["set", "removed"])
def test_an_attribute_that_changes_after_the_clone_is_in_the_snapshot_as_it_is(scene: Scene, removes: bool) -> None:
    one, _ = scene.plant_twins()
    os.setxattr(one, "user.old", b"1")
    os.setxattr(one / "file", "user.old", b"1")

    def change() -> None:
        for path in (one, one / "file"):
            if removes:
                os.removexattr(path, "user.old")
            else:
                os.setxattr(path, "user.old", b"2")

    failpoints.arm("create.precopied", change)
    with scene.attached():
        taken, outcome = scene.snapshot()
    assert taken == scene.frozen
    # JuiceFS keeps no time of it: there the mount's counters tell, and nothing is believed any more.
    if scene.site.driver == "juicefs":
        assert not precopied(outcome)
    else:
        scene.assert_precopied(outcome)


def test_what_was_there_for_the_clone_alone_is_not_in_the_snapshot(scene: Scene) -> None:
    one, _ = scene.plant_twins()
    failpoints.arm("create.looked", lambda: (one / "passing").mkdir())
    failpoints.arm("create.copied", lambda: (one / "passing").rmdir())
    with scene.attached():
        taken, outcome = scene.snapshot()
    assert b"top/in/passing" not in taken
    assert taken == scene.frozen
    scene.assert_precopied(outcome)


def test_a_copy_that_went_wrong_unseen_is_made_anew_in_a_freeze(scene: Scene) -> None:
    scene.plant_twins()
    spoiled: list[Path] = []

    def spoil() -> None:
        if not spoiled:
            (staging,) = scene.site.ws.staging_dir.iterdir()
            spoiled.append(staging / "snapshot" / "tree" / "other" / "file")
            os.truncate(spoiled[0], 3)

    failpoints.arm("create.resumed", spoil)
    with scene.attached():
        taken, outcome = scene.snapshot()
    assert taken == scene.frozen
    assert spoiled
    assert not precopied(outcome)


def test_too_much_change_is_cloned_in_the_freeze(scene: Scene) -> None:
    (scene.tree / "many").mkdir()

    def much() -> None:
        for number in range(300):
            (scene.tree / "many" / f"{number}").touch()

    failpoints.arm("create.precopied", much)
    with scene.attached():
        taken, outcome = scene.snapshot()
    assert taken == scene.frozen
    assert not precopied(outcome)


def test_without_an_agent_nothing_is_copied_early(scene: Scene) -> None:
    scene.plant_twins()
    taken, outcome = scene.snapshot()
    assert taken == scene.frozen
    assert "clone" in outcome.timings
    assert "precopy" not in outcome.timings


def test_it_is_what_is_done_where_the_agent_can_be_seen(scene: Scene) -> None:
    scene.plant_twins()
    for _ in range(20):
        with scene.attached():
            taken, outcome = scene.snapshot()
        assert taken == scene.frozen
        if precopied(outcome):
            return
    raise AssertionError("never in twenty snapshots")


def test_it_can_be_turned_off(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(make_site(precopy=False), caplog)
    scene.plant_twins()
    with scene.attached():
        taken, outcome = scene.snapshot()
    assert taken == scene.frozen
    assert "precopy" not in outcome.timings


@pytest.mark.rule("P1-03")
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_step_the_retry_makes_one_whole_snapshot(scene: Scene, point: str) -> None:
    scene.plant_twins()
    request = scene.site.create_request()
    with scene.attached():
        with scene.site.start(request, f"{point}=kill") as process:
            assert process.wait(LIMIT) == -signal.SIGKILL
        scene.site.run(scene.site.again(request))
    assert scene.site.snapshots == [request.snapshot_id]
    assert scene.site.staged == []
    scene.site.assert_whole()

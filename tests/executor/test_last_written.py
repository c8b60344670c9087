"""When anything in a tree was changed last, told by times that no program can set (SPEC §7, §9; G20)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from executor.contract import FaultReason, Stopped, StopReason
from tests.executor.calls import Meanwhile, refusal
from tests.executor.scene import Site
from tests.executor.trees import plant_small
from tests.waiting import eventually


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


WRITES: dict[str, Callable[[Path], object]] = {
    "append": lambda root: append(root / "src" / "main.py"),
    "create": lambda root: (root / "empty" / "new").touch(),
    "delete": lambda root: (root / "empty" / "old").unlink(),
    "chmod": lambda root: (root / "run.sh").chmod(0o700),
    "root": lambda root: root.chmod(0o711),
    "backdated": lambda root: os.utime(root / "data.bin", ns=(0, 0)),
}


@pytest.mark.rule("G20")
@pytest.mark.parametrize("name", WRITES)
def test_whatever_is_changed_in_a_tree_is_its_last_write(site: Site, name: str) -> None:
    plant_small(site.init())
    (site.tree / "empty" / "old").touch()
    before = eventually(lambda: calm(site), "nothing is written any more")
    assert before is not None
    WRITES[name](site.tree)
    eventually(lambda: site.last_written("initial") > before, "the write is seen")


def calm(site: Site) -> datetime | None:
    """The last write, once the file system's clock is past it: the next change will have another time."""
    probe = site.ws.root / "probe"
    probe.touch()
    now = probe.lstat().st_ctime_ns
    probe.unlink()
    last = site.last_written("initial")
    passed = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=now // 1000) - last
    return last if passed > timedelta(milliseconds=150) else None


def test_the_last_write_is_rounded_up_and_in_utc(site: Site) -> None:
    plant_small(site.init())
    newest = max(path.lstat().st_ctime_ns for path in [site.tree, *site.tree.rglob("*")])
    last = site.last_written("initial")
    assert last.tzinfo is UTC
    since = last - datetime.fromtimestamp(0, UTC)
    assert 0 <= (since // timedelta(microseconds=1)) * 1000 - newest < 1000


@pytest.mark.rule("G16")
def test_what_a_link_in_the_tree_points_at_does_not_count(site: Site, tmp_path: Path) -> None:
    (site.init() / "out").symlink_to(tmp_path)
    before = site.last_written("initial")
    (tmp_path / "new").touch()
    assert site.last_written("initial") == before


@pytest.mark.rule("G16")
@pytest.mark.parametrize("kind", ["missing", "symlink", "file", "linked parent"])
def test_what_is_no_tree_has_no_last_write(site: Site, tmp_path: Path, kind: str) -> None:
    place = site.init()
    place.rmdir()
    if kind == "symlink":
        place.symlink_to(tmp_path)
    elif kind == "file":
        place.touch()
    elif kind == "linked parent":
        (tmp_path / "initial").mkdir()
        site.ws.live_dir.rmdir()
        site.ws.live_dir.symlink_to(tmp_path)
    assert refusal(lambda: site.last_written("initial")).reason is FaultReason.UNSAFE_PATH


@pytest.fixture
def three(site: Site) -> Path:
    """A tree with three directories."""
    root = site.init()
    for name in "abc":
        (root / name).mkdir()
    return root


def test_a_stop_ends_the_scan_in_the_middle(site: Site, three: Path) -> None:
    def at_third(check: int) -> None:
        if check == 3:
            signal.stop(StopReason.SHUTDOWN)

    signal = Meanwhile(at_third)
    with pytest.raises(Stopped):
        site.last_written("initial", signal)
    assert signal.checks == 3


def test_what_vanishes_during_the_scan_makes_it_look_again(site: Site, three: Path) -> None:
    def once(check: int) -> None:
        if check == 2:
            (three / "b").rmdir()

    last = site.last_written("initial", Meanwhile(once))
    assert last == site.last_written("initial")


def test_a_tree_in_which_things_vanish_all_the_time_is_written_to_right_now(site: Site, three: Path) -> None:
    def always(_: int) -> None:
        for name in "abc":
            path = three / name
            path.rmdir() if path.exists() else path.mkdir()

    begin = datetime.now(UTC)
    assert begin <= site.last_written("initial", Meanwhile(always)) <= datetime.now(UTC)


@pytest.mark.rule("G20")
def test_a_write_to_the_old_tree_after_the_switch_is_later_than_the_switch(site: Site) -> None:
    old = site.init()
    plant_small(old)
    switch = site.switch_request(site.snapshot())
    outcome = site.run(switch)
    assert outcome.switched_at is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", outcome.switched_at)
    at = datetime.fromisoformat(outcome.switched_at)
    assert site.last_written("initial") <= at + timedelta(microseconds=1)

    def written_later() -> bool:
        append(old / "data.bin")
        return site.last_written("initial") > at

    eventually(written_later, "the write of who still holds the old tree is later")
    probed = site.probe(site.again(switch))
    assert probed is not None
    assert probed.switched_at == site.run(site.again(switch)).switched_at == outcome.switched_at
    assert outcome.as_json()["switched_at"] == outcome.switched_at

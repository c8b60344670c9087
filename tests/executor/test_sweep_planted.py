"""A sweep never follows what was planted, and never takes a tree that may be current (SPEC §2, §7; G16, G17, G20)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from executor import tree
from executor.contract import FaultReason, StopSignal
from tests.executor.calls import refusal
from tests.executor.scene import Site, new_snapshot_id, new_task_id
from tests.executor.trees import portrait

BAD = ["", ".", "..", "../live/initial", "initial/", "initial/..", "live-1", "/etc", "initial\n", "\udcff"]


@pytest.mark.rule("G17")
@pytest.mark.parametrize("name", BAD)
def test_names_that_are_no_ids_are_never_moved(site: Site, old: str, name: str) -> None:
    (site.ws.live_dir / "live-1").mkdir()
    before = sorted(site.ws.root.rglob("*"))
    swept = site.sweep(live=(name,), snapshots=(name,))
    assert swept.moved == ()
    assert sorted(swept.kept.values()) == ["no live_id", "no snapshot_id"]
    assert sorted(site.ws.root.rglob("*")) == before


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A tree that is nobody's business."""
    place = tmp_path / "outside"
    (place / "below").mkdir(parents=True)
    (place / "below" / "file").write_text("not yours")
    (place / "initial").mkdir()
    return place


@pytest.mark.rule("G16")
def test_links_in_place_of_trees_snapshots_and_staging_are_moved_and_deleted_themselves(
    site: Site, old: str, outside: Path
) -> None:
    before = portrait(outside)
    snapshot = new_snapshot_id()
    tree.delete(site.ws.live(old))
    site.ws.live(old).symlink_to(outside)
    site.ws.snapshot(snapshot).symlink_to(outside)
    site.ws.staging(new_task_id(), 1).symlink_to(outside)
    (site.ws.staging_dir / "dangling.1").symlink_to("/nowhere/at/all")
    os.mkfifo(site.ws.staging_dir / "pipe.1")
    assert site.sweep(live=(old,), snapshots=(snapshot,)).moved == (f"live/{old}", f"snapshots/{snapshot}")
    assert len(site.purge().deleted) == 5
    assert site.staged == []
    assert portrait(outside) == before


@pytest.mark.rule("G16")
@pytest.mark.parametrize("name", ["", ".wvs", ".wvs/staging", "live", "snapshots"])
def test_a_directory_of_ours_that_is_a_link_is_not_swept_behind(site: Site, old: str, outside: Path, name: str) -> None:
    snapshot = site.snapshots[0]
    place = site.ws.root / name
    aside = site.ws.root.with_name(site.wsid + "-aside")
    place.rename(aside)
    place.symlink_to(aside)
    before = portrait(aside)
    try:
        fault = refusal(lambda: site.sweep(live=("initial", old), snapshots=(snapshot,)))
        assert fault.reason is FaultReason.UNSAFE_PATH
        if name not in ("live", "snapshots"):
            purge = refusal(lambda: site.executor.purge(site.wsid, fence=1000, stop=StopSignal()))
            assert purge.reason is FaultReason.UNSAFE_PATH
        assert portrait(aside).keys() >= before.keys() - {os.fsencode(f"live/{each}") for each in ("initial", old)}
        if name != "snapshots":
            assert portrait(aside).keys() == before.keys()
    finally:
        place.unlink()
        aside.rename(place)


@pytest.mark.rule("G16")
@pytest.mark.rule("G20")
@pytest.mark.parametrize("target", ["live/../live/{}", "/abs/live/{}", "live/{}/src", "FILE"])
def test_no_tree_goes_while_it_cannot_be_told_which_one_is_current(site: Site, old: str, target: str) -> None:
    current, lives, snapshot = site.live_id, site.lives, site.snapshots[0]
    site.ws.current.unlink()
    if target == "FILE":
        site.ws.current.write_text(current)
    else:
        site.ws.current.symlink_to(target.format(current))
    swept = site.sweep(live=tuple(lives), snapshots=(snapshot,))
    assert swept.moved == (f"snapshots/{snapshot}",)
    assert swept.kept.keys() == {f"live/{name}" for name in lives}
    assert site.lives == lives


@pytest.mark.rule("G20")
@pytest.mark.parametrize("target", ["live/{}/", "./live/{}", "live//{}"])
def test_the_current_tree_is_known_however_the_link_is_written(site: Site, old: str, target: str) -> None:
    current = site.live_id
    site.ws.current.unlink()
    site.ws.current.symlink_to(target.format(current))
    assert site.sweep(live=("initial", current, old)).kept.keys() == {f"live/{current}"}
    assert site.lives == [current]


@pytest.mark.rule("G16")
@pytest.mark.parametrize("kind", ["link", "file", "directory"])
def test_whatever_was_planted_goes_with_everything_and_nothing_behind_it(site: Site, outside: Path, kind: str) -> None:
    site.init()
    before = portrait(outside)
    for place in (site.ws.live_dir, site.ws.snapshots_dir, site.ws.current):
        tree.delete(place)
        if kind == "link":
            place.symlink_to(outside)
        elif kind == "file":
            place.write_text("planted")
        else:
            (place / "below").mkdir(parents=True)
    assert site.sweep(everything=True).moved == ("live", "snapshots", "current")
    site.purge()
    assert site.staged == []
    assert portrait(outside) == before
    site.run(site.init_request())
    site.assert_whole()

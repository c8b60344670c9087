"""What an agent may plant is never followed: refused, moved away, or copied as the link that it is (G16, H12)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import descriptor, failpoints
from executor.contract import ExecutorFault, FaultReason
from executor.layout import snapshot_descriptor
from tests.executor.conftest import MakeSite
from tests.executor.scene import Site
from tests.executor.trees import plant_small, portrait

OUTSIDE = {"secret": b"not yours", "below/file": b"nor this"}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A tree that is nobody's business, which must be the same at the end."""
    place = tmp_path / "outside"
    for name, content in OUTSIDE.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


def assert_untouched(outside: Path) -> None:
    found = {str(path.relative_to(outside)): path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    assert found == OUTSIDE


def refusal(call: Callable[[], object]) -> ExecutorFault:
    with pytest.raises(ExecutorFault) as caught:
        call()
    return caught.value


def swap(path: Path, target: Path) -> Path:
    """Move what lies there aside and put a symlink in its place; where it went."""
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    path.symlink_to(target)
    return aside


def fifo(path: Path) -> None:
    os.mkfifo(path)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def directory(path: Path) -> None:
    (path / "below").mkdir(parents=True)


def foreign_link(path: Path) -> None:
    path.symlink_to("/etc")


def link_upwards(path: Path) -> None:
    path.symlink_to("live/../../other/live/initial")


PLANTS = [fifo, huge, directory, foreign_link, link_upwards]
REFUSALS = (FaultReason.UNSAFE_PATH, FaultReason.DRIFT)


@pytest.mark.rule("H12")
@pytest.mark.rule("G16")
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_current_is_refused_at_once_and_others_go_on(
    make_site: MakeSite, plant: Callable[[Path], None]
) -> None:
    site, other = make_site(), make_site()
    plant_small(site.init())
    other.init()
    snapshot = site.snapshot()
    live = site.live_id
    create = site.create_request()
    site.ws.current.unlink()
    plant(site.ws.current)
    fault = refusal(lambda: site.run(create))
    assert fault.reason in REFUSALS
    assert fault.permanent
    fault = refusal(lambda: site.run(site.switch_request(snapshot)))
    assert fault.reason is FaultReason.UNSAFE_PATH
    assert other.snapshot() in other.snapshots
    assert site.staged == []
    assert site.snapshots == [snapshot]
    assert site.lives == [live]


@pytest.mark.rule("G16")
def test_a_live_tree_that_is_a_symlink_is_not_the_source_of_a_snapshot(site: Site, outside: Path) -> None:
    create = (site.init(), site.create_request())[1]
    swap(site.tree, outside)
    assert refusal(lambda: site.run(create)).reason is FaultReason.UNSAFE_PATH
    assert site.snapshots == []
    assert site.staged == []
    assert_untouched(outside)


@pytest.mark.rule("G16")
@pytest.mark.parametrize("name", ["lock", "fence", "fence.lock"])
@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_planted_lock_files_are_refused_and_never_written_through(
    site: Site, outside: Path, name: str, kind: str
) -> None:
    site.init()
    create = site.create_request()
    place = site.ws.wvs / name
    place.unlink()
    if kind == "symlink":
        place.symlink_to(outside / "secret")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    assert refusal(lambda: site.run(create)).reason is FaultReason.UNSAFE_PATH
    assert refusal(lambda: site.probe(create)).reason is FaultReason.UNSAFE_PATH
    assert_untouched(outside)


@pytest.mark.rule("G16")
@pytest.mark.parametrize("name", ["", ".wvs", ".wvs/staging", "live", "snapshots"])
def test_a_directory_of_ours_that_is_a_symlink_is_refused_by_every_operation(site: Site, name: str) -> None:
    plant_small(site.init())
    snapshot = site.snapshot()
    requests = [site.create_request(), site.switch_request(snapshot), site.drop_request(snapshot), site.init_request()]
    place = site.ws.root / name
    aside = site.ws.root.with_name(site.wsid + "-aside")
    place.rename(aside)
    place.symlink_to(aside)
    before = portrait(aside)
    for request in requests:
        assert refusal(lambda: site.run(request)).reason is FaultReason.UNSAFE_PATH  # noqa: B023 — called at once
    assert portrait(aside).keys() == before.keys()
    place.unlink()
    aside.rename(place)


@pytest.mark.rule("G16")
def test_a_fence_that_is_no_number_is_refused(site: Site) -> None:
    site.init()
    site.ws.fence.write_text("9" * 10 + "; rm -rf /")
    assert refusal(site.snapshot).reason is FaultReason.UNSAFE_PATH


@pytest.mark.rule("G16")
def test_a_snapshot_that_is_a_symlink_is_missing_for_a_switch_and_its_drop_deletes_the_link_alone(
    site: Site, outside: Path
) -> None:
    plant_small(site.init())
    snapshot = site.snapshot()
    place = site.ws.snapshot(snapshot)
    hidden = outside.parent / "hidden"
    shutil.copytree(place, hidden, symlinks=True)
    whole = portrait(hidden)
    shutil.rmtree(place)
    place.symlink_to(hidden)
    fault = refusal(lambda: site.run(site.switch_request(snapshot)))
    assert fault.reason is FaultReason.SNAPSHOT_MISSING
    assert site.lives == ["initial"]
    assert site.run(site.drop_request(snapshot)).warnings == ()
    assert not os.path.lexists(place)
    assert portrait(hidden) == whole
    assert site.staged == []


@pytest.mark.rule("G16")
@pytest.mark.parametrize("part", ["tree", ".wvs"])
def test_parts_of_a_snapshot_that_are_symlinks_make_it_missing(site: Site, tmp_path: Path, part: str) -> None:
    plant_small(site.init())
    snapshot = site.snapshot()
    place = site.ws.snapshot(snapshot) / part
    hidden = tmp_path / "hidden"
    shutil.copytree(place, hidden, symlinks=True)
    shutil.rmtree(place)
    place.symlink_to(hidden)
    assert refusal(lambda: site.run(site.switch_request(snapshot))).reason is FaultReason.SNAPSHOT_MISSING


@pytest.mark.rule("G16")
@pytest.mark.parametrize("kind", ["file", "symlink", "dangling", "fifo"])
def test_what_lies_in_place_of_a_snapshot_is_moved_away_and_not_followed(site: Site, outside: Path, kind: str) -> None:
    plant_small(site.init())
    create = site.create_request()
    place = site.ws.snapshot(create.snapshot_id)
    if kind == "file":
        place.write_bytes(b"planted")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(outside if kind == "symlink" else "/nowhere")
    assert not site.run(create).already_done
    assert create.snapshot_id is not None
    assert portrait(site.snapshot_tree(create.snapshot_id)) == portrait(site.tree)
    assert site.staged == []
    assert_untouched(outside)


@pytest.mark.rule("G16")
@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_a_drop_of_something_that_is_no_directory_deletes_just_that(site: Site, outside: Path, kind: str) -> None:
    plant_small(site.init())
    snapshot = site.snapshot()
    place = site.ws.snapshot(snapshot)
    shutil.rmtree(place)
    place.symlink_to(outside) if kind == "symlink" else place.write_bytes(b"planted")
    assert site.run(site.drop_request(snapshot)).warnings == ()
    assert site.snapshots == site.staged == []
    assert_untouched(outside)


@pytest.mark.rule("G16")
def test_staging_of_an_older_attempt_that_is_a_symlink_is_unlinked_and_not_followed(site: Site, outside: Path) -> None:
    plant_small(site.init())
    first = site.create_request()
    site.ws.staging(first.task_id, first.fence).symlink_to(outside)
    site.run(site.again(first))
    assert site.staged == []
    assert_untouched(outside)


@pytest.mark.rule("G16")
def test_symlinks_in_the_tree_are_copied_as_they_are(site: Site, outside: Path) -> None:
    tree = site.init()
    (tree / "out").symlink_to(outside)
    (tree / "up").symlink_to("../../../..")
    (tree / "loop").symlink_to("loop")
    site.switch_to(site.snapshot())
    assert os.readlink(site.tree / "out") == str(outside)  # noqa: PTH115
    assert {path.name for path in site.tree.iterdir()} == {"out", "up", "loop"}
    assert all(path.is_symlink() for path in site.tree.iterdir())
    assert_untouched(outside)


@pytest.mark.rule("G16")
@pytest.mark.rule("RK-02")
def test_a_directory_swapped_for_a_symlink_in_the_freeze_is_never_followed(site: Site, outside: Path) -> None:
    tree = site.init()
    (tree / "below").mkdir()
    (tree / "below" / "file").write_bytes(b"ours")
    failpoints.arm("create.cloned", lambda: void(swap(tree / "below", outside / "below")))
    fault = refusal(site.snapshot)
    assert fault.reason is FaultReason.QUIESCE_VIOLATED
    assert site.snapshots == site.staged == []
    assert_untouched(outside)


def void(_: object) -> None: ...


@pytest.mark.rule("G10")
@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"[" * 60_000, b"\xff\xfe", b'{"version": 1}', b" " * 70_000, b"1" * 10_000],
    ids=["empty", "cut", "list", "null", "deep", "no text", "too little", "too big", "a long number"],
)
def test_a_descriptor_that_is_not_whole_is_no_descriptor(site: Site, text: bytes) -> None:
    plant_small(site.init())
    snapshot = site.snapshot()
    snapshot_descriptor(site.ws.snapshot(snapshot)).write_bytes(text)
    assert descriptor.read(site.ws.snapshot(snapshot), wsid=site.wsid, snapshot_id=snapshot) is None
    fault = refusal(lambda: site.run(site.switch_request(snapshot)))
    assert fault.reason is FaultReason.SNAPSHOT_MISSING
    assert fault.permanent


@pytest.mark.rule("G10")
def test_a_half_written_descriptor_is_replaced_by_the_retry(site: Site) -> None:
    plant_small(site.init())
    create = site.create_request()
    site.run(create)
    path = snapshot_descriptor(site.ws.snapshot(create.snapshot_id))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert site.probe(site.again(create)) is None
    assert not site.run(site.again(create)).already_done
    site.assert_whole()
    assert site.staged == []


@pytest.mark.rule("G10")
def test_the_descriptor_of_another_snapshot_or_workspace_is_not_ones_own(make_site: MakeSite) -> None:
    site, other = make_site(), make_site()
    plant_small(site.init())
    other.init()
    mine, theirs, foreign = site.snapshot(), site.snapshot(), other.snapshot()
    for inherited in (site.ws.snapshot(theirs), other.ws.snapshot(foreign)):
        shutil.copyfile(snapshot_descriptor(inherited), snapshot_descriptor(site.ws.snapshot(mine)))
        fault = refusal(lambda: site.run(site.switch_request(mine)))
        assert fault.reason is FaultReason.SNAPSHOT_MISSING
    create = site.create_request()
    shutil.copytree(site.ws.snapshot(theirs), site.ws.snapshot(create.snapshot_id), symlinks=True)
    assert site.probe(create) is None
    assert not site.run(site.again(create)).already_done
    found = descriptor.read(site.ws.snapshot(create.snapshot_id), wsid=site.wsid, snapshot_id=create.snapshot_id or "")
    assert found is not None
    assert found.task_id == create.task_id
    assert site.staged == []

"""What a clone keeps: everything, of ten thousand entries (SPEC §2; G18). A change on one side stays there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.clone.copy import CopyDriver, reflink_works, share_data
from executor.local import LocalExecutor
from tests.executor.scene import Site
from tests.executor.trees import plant_many, plant_odd, plant_small, portrait


@pytest.mark.rule("G18")
@pytest.mark.timeout(300)
def test_ten_thousand_entries_with_every_oddity_survive_snapshot_and_set_current(site: Site) -> None:
    tree = site.init()
    plant_odd(tree, as_root=os.geteuid() == 0)
    entries = 10_000 if site.driver == "juicefs" else 1_000  # where each is a copy, as many show the same
    plant_many(tree, entries=entries)
    tree.chmod(0o2750)
    original = portrait(tree)
    assert len(original) > entries
    snapshot = site.snapshot()
    assert portrait(site.snapshot_tree(snapshot)) == original
    assert portrait(site.switch_to(snapshot)) == original


@pytest.mark.rule("G18")
@pytest.mark.root
def test_modes_closed_to_everybody_and_owners_of_others_are_kept(site: Site) -> None:
    plant_odd(site.init(), as_root=True)
    tree = site.switch_to(site.snapshot())
    assert (tree / "secret").stat().st_mode & 0o7777 == 0
    assert (tree / "closed").stat().st_uid == 4321
    assert (tree / "others").stat().st_gid == 5678
    assert (tree / "others").stat().st_mode & 0o7777 == 0o4711
    assert (tree / "others-link").lstat().st_uid == 1234


def test_a_sparse_file_stays_sparse_when_copied(make_site: Callable[..., Site], driver: str) -> None:
    if driver != "copy":
        return  # what a hole costs on JuiceFS is its own affair
    site = make_site()
    plant_odd(site.init(), as_root=False)
    copied = site.snapshot_tree(site.snapshot()) / "sparse"
    assert copied.stat().st_size == 64 * 1024 * 1024
    assert copied.stat().st_blocks * 512 < 1024 * 1024


def test_hard_links_become_files_of_their_own(site: Site) -> None:
    plant_odd(site.init(), as_root=False)
    tree = site.switch_to(site.snapshot())
    assert (tree / "hard").stat().st_nlink == (tree / "plain").stat().st_nlink == 1
    (tree / "hard").write_text("another")
    assert (tree / "plain").read_bytes() == b"plain" * 3


def scribble(tree: Path) -> None:
    """Change everything that can be changed, in place and otherwise."""
    with (tree / "data.bin").open("r+b") as file:
        file.write(b"overwritten in place")
    with (tree / "src" / "main.py").open("a") as appended:
        appended.write("more\n")
    (tree / "run.sh").chmod(0o600)
    os.utime(tree / "run.sh", (1, 1))
    (tree / "größe 数据").unlink()
    (tree / "empty" / "new").write_text("new")
    (tree / "to-src").unlink()
    (tree / "to-src").symlink_to("empty")
    (tree / "src").rename(tree / "source")


@pytest.mark.rule("G18")
def test_a_change_in_live_never_shows_in_the_snapshot_nor_the_reverse(site: Site) -> None:
    tree = site.init()
    plant_small(tree)
    original = portrait(tree)
    snapshot = site.snapshot()
    scribble(tree)
    assert portrait(site.snapshot_tree(snapshot)) == original
    second = site.switch_to(snapshot)
    first_scribbled = portrait(tree)
    scribble(second)
    second_scribbled = portrait(second)
    assert portrait(site.snapshot_tree(snapshot)) == original
    third = site.switch_to(snapshot)
    assert portrait(third) == original
    scribble(site.snapshot_tree(snapshot))
    assert portrait(third) == original
    assert portrait(tree) == first_scribbled
    assert portrait(second) == second_scribbled


def test_the_outcome_and_the_descriptor_say_what_is_in_the_snapshot(site: Site) -> None:
    tree = site.init()
    plant_odd(tree, as_root=False)
    outcome = site.run(site.create_request())
    seen = portrait(tree)
    assert outcome.entries == len(seen) - 1
    assert outcome.bytes == sum(face.size for face in seen.values())
    assert outcome.clone_driver == site.driver
    assert outcome.manifest_digest is not None
    assert outcome.manifest_digest.startswith("sha256")


def test_where_blocks_cannot_be_shared_the_reflink_driver_copies_each_file_as_it_is(workdir: Path) -> None:
    """Some files cannot share blocks even where the file system can."""
    site = Site(workdir, "copy")
    site.executor = LocalExecutor(site.config, CopyDriver("reflink", share_data))
    plant_odd(site.init(), as_root=os.geteuid() == 0)
    original = portrait(site.tree)
    assert portrait(site.switch_to(site.snapshot())) == original


def test_auto_takes_what_an_ordinary_disk_can_do_and_leaves_nothing_there(workdir: Path) -> None:
    chosen = Site(workdir, "auto").executor.driver_name
    assert chosen == ("reflink" if reflink_works(workdir) else "copy")
    assert list(workdir.iterdir()) == []

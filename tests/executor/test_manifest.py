"""A look and a manifest see every single change, and nothing else (SPEC §8 "Proof of quiet"; RK-02, RK-03)."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor import manifest, survey
from executor import tree as trees
from executor.manifest import Kept, Manifest
from executor.survey import Survey
from tests.executor.trees import WHEN, plant_small

pytestmark = [pytest.mark.rule("RK-02"), pytest.mark.rule("RK-03")]

NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: b"/" not in name and b"\0" not in name)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
KINDS = st.sampled_from([stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO])
KEPT = st.builds(
    Kept,
    mode=st.builds(lambda kind, bits: kind | bits, KINDS, st.integers(0, 0o7777)),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    size=st.integers(0, 2**63 - 1),
    mtime_ns=st.integers(-(2**80), 2**80),
    target=st.binary(max_size=5),
    xattrs=st.lists(st.tuples(st.sampled_from(["user.a", "user.b"]), st.binary(max_size=4)), max_size=2).map(tuple),
)
TREES = st.dictionaries(PATHS, KEPT, max_size=6)
FIELDS = [field.name for field in dataclasses.fields(Kept)]


def made(kept: dict[bytes, Kept], *, with_xattrs: bool = True) -> Manifest:
    return Manifest(kept, with_xattrs)


def look(root: Path) -> Survey:
    with trees.open_root(root) as fd:
        return survey.look(fd, xattrs=True)


def has_changed(root: Path, before: Survey) -> bool:
    with trees.open_root(root) as fd:
        return survey.changed_since(fd, before) is not None


@given(TREES, st.randoms())
def test_the_digest_does_not_depend_on_the_order_of_the_listing(tree: dict[bytes, Kept], dice: random.Random) -> None:
    shuffled = list(tree.items())
    dice.shuffle(shuffled)
    assert made(dict(shuffled)).digest == made(tree).digest


@given(TREES, TREES)
def test_two_trees_have_one_digest_only_if_they_keep_the_same(one: dict[bytes, Kept], other: dict[bytes, Kept]) -> None:
    assert (made(one).digest == made(other).digest) is (one == other)
    assert (made(one).is_clone_of(made(other)) is None) is (one == other)


@given(st.dictionaries(PATHS, KEPT, min_size=1, max_size=6), st.data())
def test_any_single_change_of_any_field_is_seen(tree: dict[bytes, Kept], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(tree)))
    name = data.draw(st.sampled_from(FIELDS))
    other = data.draw(KEPT.filter(lambda kept: getattr(kept, name) != getattr(tree[path], name)))
    changed = {**tree, path: dataclasses.replace(tree[path], **{name: getattr(other, name)})}
    assert made(changed).digest != made(tree).digest
    assert made(changed).is_clone_of(made(tree)) is not None


def test_a_name_moves_its_bytes_into_no_other_field() -> None:
    nothing = Kept(stat.S_IFLNK, 0, 0, 0, 0, b"", ())
    one = made({b"a": dataclasses.replace(nothing, target=b"bc")})
    other = made({b"ab": dataclasses.replace(nothing, target=b"c")})
    assert one.digest != other.digest


def test_a_scan_with_attributes_is_told_from_one_without() -> None:
    assert manifest.digest_has_xattrs(made({}).digest)
    assert not manifest.digest_has_xattrs(made({}, with_xattrs=False).digest)
    assert made({}).digest != made({}, with_xattrs=False).digest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    plant_small(root)
    for path in root.rglob("*"):
        os.utime(path, ns=(WHEN, WHEN), follow_symlinks=False)
    return root


def keeping_its_date(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """The change, and then the times put back: only ctime or the inode tell."""

    def run(root: Path) -> None:
        before = (root / "data.bin").lstat()
        change(root / "data.bin")
        os.utime(root / "data.bin", ns=(before.st_atime_ns, before.st_mtime_ns))

    return run


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"X")


def twin(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o644)


def relink(root: Path) -> None:
    (root / "to-src").unlink()
    (root / "to-src").symlink_to("xyz")
    os.utime(root / "to-src", ns=(WHEN, WHEN), follow_symlinks=False)


def swap_directories(root: Path) -> None:
    """Another directory with the same names, contents and times in the place of the first."""
    shutil.copytree(root / "src", root / "other", symlinks=True)
    shutil.rmtree(root / "src")
    (root / "other").rename(root / "src")


def file_for_link(root: Path) -> None:
    (root / "dangling").unlink()
    (root / "dangling").touch()


CHANGES: dict[str, Callable[[Path], object]] = {
    "size": lambda root: os.truncate(root / "data.bin", 5),
    "content": lambda root: overwrite(root / "data.bin"),
    "content, same date": keeping_its_date(overwrite),
    "twin, same date": keeping_its_date(twin),
    "date": lambda root: os.utime(root / "data.bin", ns=(WHEN, WHEN + 1000)),
    "mode": lambda root: (root / "run.sh").chmod(0o711),
    "setuid": lambda root: (root / "run.sh").chmod(0o4755),
    "mode of a directory": lambda root: (root / "src").chmod(0o700),
    "mode of the root": lambda root: root.chmod(0o700),
    "target": relink,
    "name": lambda root: (root / "run.sh").rename(root / "ran.sh"),
    "name of a directory": lambda root: (root / "src").rename(root / "srd"),
    "directory swapped": swap_directories,
    "new": lambda root: (root / "src" / "new").touch(),
    "new link": lambda root: (root / "src" / "new").symlink_to("x"),
    "gone": lambda root: (root / "src" / "main.py").unlink(),
    "empty directory gone": lambda root: (root / "empty").rmdir(),
    "attribute": lambda root: os.setxattr(root / "data.bin", "user.k", b"v"),
    "attribute of a directory": lambda root: os.setxattr(root / "empty", "user.k", b"v"),
    "file instead of a link": file_for_link,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_change_on_a_disk_is_seen(tree: Path, change: Callable[[Path], object]) -> None:
    before = look(tree)
    assert not has_changed(tree, before)
    change(tree)
    assert has_changed(tree, before)


@pytest.mark.root
def test_a_change_of_owner_is_seen(tree: Path) -> None:
    for name, uid, gid in (("data.bin", 7, -1), ("empty", -1, 7), ("dangling", 7, 7)):
        before = look(tree)
        os.chown(tree / name, uid, gid, follow_symlinks=False)
        assert has_changed(tree, before)


def test_entries_and_bytes_are_counted_without_the_root_and_without_links(tree: Path) -> None:
    found = manifest.scan(tree, xattrs=True)
    assert found.entries == sum(1 for _ in tree.rglob("*"))
    files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    assert found.bytes == sum(path.stat().st_size for path in files)


def test_a_file_dated_in_the_far_future_has_a_digest() -> None:
    far = Kept(stat.S_IFREG, 0, 0, 0, 253_402_300_799 * 10**9, b"", ())
    folded = dataclasses.replace(far, mtime_ns=far.mtime_ns % 2**63)
    assert made({b"a": far}).digest != made({b"a": folded}).digest
    assert made({b"a": far}).digest != made({b"a": dataclasses.replace(far, mtime_ns=far.mtime_ns + 1)}).digest


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.sets(NAMES.filter(lambda name: name not in (b".", b"..")), min_size=1, max_size=8))
def test_any_names_are_scanned(tmp_path_factory: pytest.TempPathFactory, names: set[bytes]) -> None:
    root = tmp_path_factory.mktemp("names")
    for name in names:
        with open(os.path.join(os.fsencode(root), name), "wb") as file:  # noqa: PTH123
            file.write(name)
    found = manifest.scan(root, xattrs=True)
    assert set(found.kept) == names | {b""}
    assert found.bytes == sum(map(len, names))

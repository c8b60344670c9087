"""What a copy is believed, rule by rule, on looks that are made up: no clock and no disk decides here (SPEC §7; H3)."""

from __future__ import annotations

import stat

import pytest

from executor.delta import Copied, Plan
from executor.survey import YOUNG_NS, Entries, Seen, Survey

pytestmark = pytest.mark.rule("H3")

BEGAN = 10**18
OLD = BEGAN - 10 * YOUNG_NS
LATER = BEGAN + YOUNG_NS


def entry(ino: int, *, directory: bool = False, ctime: int = OLD, size: int = 5, mtime: int = OLD) -> Seen:
    kind = stat.S_IFDIR | 0o755 if directory else stat.S_IFREG | 0o644
    return Seen(kind, 0, 0, 0 if directory else size, mtime, b"", (), 1, ino, ctime)


def look(directories: dict[bytes, Entries], *, root_ctime: int = OLD, began: int = BEGAN) -> Survey:
    return Survey(entry(1, directory=True, ctime=root_ctime), directories, began, with_xattrs=False)


def planned(before: Survey, now: Survey, copy: Survey | None = None) -> Plan:
    """What is to be done to a clone that was begun after `before`; it looks like `before` unless told otherwise."""
    return Copied.cloned(before, copy or before).plan(now)


def of_one(file: Seen) -> dict[bytes, Entries]:
    return {b"": {b"file": file}}


def of_directory(directory: Seen, file: Seen) -> dict[bytes, Entries]:
    return {b"": {b"d": directory}, b"d": {b"file": file}}


def is_brought(plan: Plan, path: bytes = b"") -> bool:
    return b"file" in plan.copied.get(path, {})


def test_what_did_not_change_stays() -> None:
    before = look(of_directory(entry(2, directory=True), entry(3)))
    assert planned(before, before).cost == 0


@pytest.mark.parametrize(
    "changed",
    [entry(2, size=6), entry(2, mtime=OLD + 1), entry(3), entry(2, ctime=OLD + 1), entry(2, ctime=OLD - 1)],
    ids=["size", "mtime", "another inode", "ctime", "ctime by a clock that was put back"],
)
def test_what_looks_otherwise_is_brought_over(changed: Seen) -> None:
    plan = planned(look(of_one(entry(2))), look(of_one(changed), began=LATER))
    assert is_brought(plan)
    assert plan.removed == [(b"", b"file")]


@pytest.mark.parametrize("ctime", [BEGAN - YOUNG_NS, BEGAN, BEGAN + 10**15])
def test_what_had_just_changed_or_is_dated_in_the_future_is_brought_over_though_it_looks_the_same(ctime: int) -> None:
    before = look(of_one(entry(2, ctime=ctime)))
    assert is_brought(planned(before, look(of_one(entry(2, ctime=ctime)), began=LATER)))


def test_what_was_cloned_while_it_was_something_else_is_brought_over() -> None:
    before = look(of_one(entry(2)))
    assert is_brought(planned(before, before, copy=look(of_one(entry(9, size=6)))))


def test_what_the_clone_alone_has_is_removed() -> None:
    before = look(of_one(entry(2)))
    plan = planned(before, before, copy=look({b"": {b"file": entry(2), b"passing": entry(7)}}))
    assert plan.removed == [(b"", b"passing")]
    assert not is_brought(plan)


MOVED = entry(2, directory=True, ctime=OLD + 1)


def test_a_directory_that_was_moved_and_is_back_is_copied_anew_with_everything_below_it() -> None:
    before = look(of_directory(entry(2, directory=True), entry(3)))
    plan = planned(before, look(of_directory(MOVED, entry(3)), root_ctime=OLD + 1, began=LATER))
    assert [(path, name) for path, name, _ in plan.made] == [(b"", b"d")]
    assert is_brought(plan, b"d")


def test_a_parent_that_was_touched_right_before_the_look_may_hide_that_its_directory_was_moved() -> None:
    young = BEGAN - YOUNG_NS // 2
    before = look(of_directory(entry(2, directory=True), entry(3)), root_ctime=young)
    plan = planned(before, look(of_directory(MOVED, entry(3)), root_ctime=young, began=LATER))
    assert is_brought(plan, b"d")


def test_a_directory_that_was_touched_itself_hides_as_much_of_what_it_holds() -> None:
    young = entry(2, directory=True, ctime=BEGAN)
    inner, moved = entry(4, directory=True), entry(4, directory=True, ctime=OLD + 1)
    before = look({b"": {b"d": young}, b"d": {b"e": inner}, b"d/e": {b"file": entry(3)}})
    now = look({b"": {b"d": young}, b"d": {b"e": moved}, b"d/e": {b"file": entry(3)}}, began=LATER)
    assert is_brought(planned(before, now), b"d/e")


def test_a_directory_in_which_an_entry_was_moved_stays_and_gets_its_looks_at_the_end() -> None:
    before = look(of_directory(entry(2, directory=True), entry(3)))
    plan = planned(before, look(of_directory(MOVED, entry(3)), began=LATER))
    assert plan.cost == 0
    assert plan.touched == {b"d": MOVED}


def test_another_directory_in_its_place_is_copied_anew() -> None:
    before = look(of_directory(entry(2, directory=True), entry(3)))
    plan = planned(before, look(of_directory(entry(8, directory=True), entry(3)), began=LATER))
    assert plan.removed == [(b"", b"d")]
    assert is_brought(plan, b"d")


def test_what_could_not_be_brought_over_is_tried_again() -> None:
    before = look(of_one(entry(2)))
    copied = Copied.nothing(before).brought_to(before, {(b"", b"file")})
    assert is_brought(copied.plan(look(of_one(entry(2)), began=LATER)))

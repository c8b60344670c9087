"""Directories and programs that PostgreSQL's account can reach."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wvs_project.stack.accounts import Account
from wvs_project.stack.errors import StackError
from wvs_project.stack.places import own_directory, place_of, reachable_copy

NOBODY = Account(65534, 65534)


def test_a_directory_below_a_closed_one_is_out_of_reach(workdir: Path) -> None:
    state = workdir / "closed" / "state"
    state.mkdir(parents=True)
    assert NOBODY.can_enter(state)
    assert place_of(NOBODY, state) == state
    (workdir / "closed").chmod(0o700)
    assert not NOBODY.can_enter(state)
    assert place_of(NOBODY, state).parent == Path("/var/tmp")
    assert place_of(None, state) == state


def test_two_states_never_share_a_place(workdir: Path) -> None:
    (workdir / "closed").mkdir(mode=0o700)
    assert place_of(NOBODY, workdir / "closed" / "a") != place_of(NOBODY, workdir / "closed" / "b")


def test_a_place_that_somebody_else_prepared_is_refused(workdir: Path) -> None:
    (workdir / "theirs").mkdir()
    (workdir / "place").symlink_to("theirs")
    with pytest.raises(StackError, match="refusing to use it"):
        own_directory(workdir / "place")


@pytest.mark.root
def test_a_place_of_another_account_is_refused(workdir: Path) -> None:
    (workdir / "place").mkdir()
    os.chown(workdir / "place", 1, 1)
    with pytest.raises(StackError, match="refusing to use it"):
        own_directory(workdir / "place")


def test_programs_out_of_reach_are_copied_whole_and_open_whatever_the_umask_was(workdir: Path) -> None:
    program = workdir / "site" / "package" / "bin" / "program"
    program.parent.mkdir(parents=True)
    program.touch(0o700)
    library = workdir / "site" / "package.libs"
    library.mkdir(mode=0o700)
    copy = reachable_copy(NOBODY, workdir / "site", ["package", "package.libs"], workdir / "copy")
    assert copy == workdir / "copy"
    assert NOBODY.can_enter(copy / "package.libs")
    assert (copy / "package" / "bin" / "program").stat().st_mode & 0o777 == 0o755
    assert not (workdir / ".copy.half").exists()


def test_programs_in_reach_are_used_where_they_are(workdir: Path) -> None:
    (workdir / "site" / "package").mkdir(parents=True)
    assert reachable_copy(NOBODY, workdir / "site", ["package"], workdir / "copy") == workdir / "site"

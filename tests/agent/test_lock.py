"""The agent lock says who is attached, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wvs_agent.files import UnsafeFileError
from wvs_agent.lock import AgentLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "agent.lock").touch()
    return tmp_path / "agent.lock"


def test_one_holder_excludes_the_other_until_it_closes(path: Path) -> None:
    first, second = AgentLock(path), AgentLock(path)
    assert first.try_acquire()
    assert first.try_acquire()
    assert not second.try_acquire()
    first.close()
    assert second.try_acquire()
    second.close()


@pytest.mark.rule("H4")
def test_a_child_that_inherited_the_lock_keeps_it_after_the_parent_closed_it(path: Path) -> None:
    parent, executor = AgentLock(path), AgentLock(path)
    assert parent.try_acquire()
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[parent.fileno()]
    )
    try:
        parent.close()
        assert not executor.try_acquire()
    finally:
        child.communicate()
    assert executor.try_acquire()
    executor.close()


def test_a_missing_lock_is_never_made_anew(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AgentLock(tmp_path / "agent.lock")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.rule("G16")
@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_a_lock_that_is_no_regular_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "agent.lock"
    if kind == "symlink":
        (tmp_path / "other").touch()
        path.symlink_to("other")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(UnsafeFileError):
        AgentLock(path)


def test_a_lock_that_was_replaced_is_taken_on_the_file_that_is_there_now(path: Path) -> None:
    ours = AgentLock(path)
    path.rename(path.with_name("away"))
    path.touch()
    agent = AgentLock(path)
    assert agent.try_acquire()
    assert not ours.try_acquire()
    agent.close()
    assert ours.try_acquire()
    ours.close()


def replace(path: Path) -> None:
    """As an operator's detach does it."""
    path.rename(path.with_name("away"))
    path.touch()


@pytest.mark.rule("H4")
def test_confirming_a_lock_that_is_held_changes_nothing(path: Path) -> None:
    ours, other = AgentLock(path), AgentLock(path)
    assert ours.try_acquire()
    fd = ours.fileno()
    assert ours.confirm()
    assert ours.fileno() == fd
    assert not other.try_acquire()
    ours.close()
    assert other.try_acquire()
    other.close()


@pytest.mark.rule("H4")
def test_a_lock_that_was_lost_is_taken_again_as_soon_as_it_is_free(path: Path) -> None:
    ours = AgentLock(path)
    assert ours.try_acquire()
    ours.share_with_children()
    replace(path)
    executor = AgentLock(path)
    assert executor.try_acquire()
    assert (ours.confirm(), ours.held) == (False, False)
    executor.close()
    assert (ours.confirm(), ours.held) == (True, True)
    assert os.get_inheritable(ours.fileno())
    third = AgentLock(path)
    assert not third.try_acquire()
    ours.close()
    assert third.try_acquire()
    third.close()


def test_all_descriptors_of_a_lock_are_given_back(path: Path) -> None:
    before = {each.name for each in Path("/proc/self/fd").iterdir()}
    ours = AgentLock(path)
    assert ours.try_acquire()
    for _ in range(3):
        replace(path)
        assert ours.confirm()
    ours.close()
    assert {each.name for each in Path("/proc/self/fd").iterdir()} == before


def test_where_the_lock_is_gone_nothing_is_confirmed(path: Path) -> None:
    ours = AgentLock(path)
    assert ours.try_acquire()
    path.unlink()
    assert not ours.confirm()
    path.mkdir()
    assert not ours.confirm()
    path.rmdir()
    path.touch()
    assert ours.confirm()
    ours.close()

"""Who held which lock when is written down by the executor itself, and two at once are seen (I9)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor import failpoints
from executor.failpoints import LOCK_POINTS
from tests.chaos.executions import Held, overlaps, read_holds
from tests.executor.scene import Site


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Where this process writes it down."""
    file = tmp_path / "locks"
    failpoints.configure(",".join(f"{point}=log:{file}" for point in LOCK_POINTS))
    yield file
    failpoints.disarm_all()


def _log(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.rule("I9")
def test_every_execution_is_written_down_with_its_workspace_and_its_process(log: Path, workdir: Path) -> None:
    site = Site(workdir, "copy")
    site.init()
    site.snapshot()
    holds = read_holds(log, {})
    assert [(hold.wsid, hold.pid) for hold in holds] == [(site.wsid, os.getpid())] * 2
    assert overlaps(holds) == []


@pytest.mark.rule("I9")
def test_two_who_hold_one_workspace_at_once_are_seen() -> None:
    first, inside = Held("w", 1, 1.0, 5.0), Held("w", 2, 2.0, 3.0)
    assert overlaps([inside, first]) == [(first, inside)]


@pytest.mark.rule("I9")
def test_one_who_comes_within_a_long_hold_is_seen_though_others_came_and_went_before() -> None:
    long, short, late = Held("w", 1, 1.0, 9.0), Held("w", 2, 2.0, 3.0), Held("w", 3, 8.0, 10.0)
    assert overlaps([long, short, late]) == [(long, short), (long, late)]


@pytest.mark.rule("I9")
def test_two_workspaces_may_be_held_at_once_and_one_after_the_other() -> None:
    assert overlaps([Held("w", 1, 1.0, 5.0), Held("v", 2, 2.0, 3.0), Held("w", 2, 5.0, 6.0)]) == []


@pytest.mark.rule("I9")
def test_what_a_killed_process_held_ends_with_it(tmp_path: Path) -> None:
    log = _log(tmp_path / "locks", "1000000000 7 70 fence.held w", "3000000000 8 80 fence.held w")
    (early, _) = read_holds(log, {7: 2.0, 8: 4.0})
    assert (early.begin, early.end) == (1.0, 2.0)
    assert overlaps(read_holds(log, {7: 2.0, 8: 4.0})) == []
    assert len(overlaps(read_holds(log, {7: 3.5, 8: 4.0}))) == 1


@pytest.mark.rule("I9")
def test_of_a_process_that_killed_itself_only_what_is_certain_counts(tmp_path: Path) -> None:
    lines = ["1000000000 7 70 fence.held w", "1500000000 7 71 fence.held v", "2000000000 8 80 fence.held w"]
    holds = read_holds(_log(tmp_path / "locks", *lines), {})
    assert [(hold.wsid, hold.end) for hold in holds if hold.pid == 7] == [("w", 1.5), ("v", 1.5)]
    assert overlaps(holds) == []

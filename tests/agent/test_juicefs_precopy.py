"""The pre-copy on real JuiceFS, the agent on the executor's mount and on another one (SPEC §7; H1–H3; ADR 14)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import failpoints
from executor.contract import Outcome
from tests.agent.test_juicefs_snapshot import Stage, attached, stage
from tests.executor.restless import POINTS, Restless, exchange, grow_old, put_back, unwatched
from tests.executor.trees import portrait

__all__ = ["stage"]
pytestmark = [pytest.mark.fuse, pytest.mark.rule("H1"), pytest.mark.rule("H2"), pytest.mark.rule("H3")]


def cloned_in_the_freeze(outcome: Outcome) -> bool:
    return "clone" in outcome.timings


def plant(stage: Stage) -> Path:
    """So many files that a clone is worth its command; the answer is the tree, as the agent sees it."""
    tree = stage.views.agent_root / "live" / "initial"
    for name in ("one", "two"):
        (tree / name).mkdir()
        for number in range(12):
            path = tree / name / f"{number}"
            path.write_bytes(name.encode() * 10)
            put_back(path)
    grow_old()
    return tree


def set_attribute(tree: Path) -> None:
    os.setxattr(tree / "one" / "3", "user.late", b"1")
    os.setxattr(tree / "two", "user.late", b"1")


def write_unseen(tree: Path) -> None:
    path = tree / "one" / "5"
    with path.open("r+b") as file:
        file.write(b"?")
    put_back(path)


def exchange_directories(tree: Path) -> None:
    exchange(tree / "one", tree / "two")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("change", [set_attribute, write_unseen, exchange_directories])
def test_what_the_agent_changes_during_the_copy_is_in_the_snapshot(
    stage: Stage, change: Callable[[Path], None], point: str, caplog: pytest.LogCaptureFixture
) -> None:
    tree = plant(stage)
    frozen: list[object] = []
    failpoints.arm(point, lambda: change(tree))
    failpoints.arm("create.frozen", lambda: frozen.append(portrait(tree)))
    with attached(stage):
        taken, outcome = stage.snapshot()
    assert portrait(taken) == frozen[0]
    one_mount = stage.views.agent_root == stage.ws.root
    # Of changes through another mount this one's counters tell nothing: there the copy is never believed.
    if not one_mount or change is set_attribute:
        assert cloned_in_the_freeze(outcome)
    else:
        assert not cloned_in_the_freeze(outcome) or unwatched(caplog)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_agent_changes_at_random_the_snapshot_is_what_stood_still(stage: Stage, seed: int) -> None:
    tree = stage.views.agent_root / "live" / "initial"
    agent = Restless(tree, seed, attributes=True)
    agent.plant()
    frozen: list[object] = []
    for point in POINTS:
        failpoints.arm(point, lambda: agent.stir(agent.dice.choice([0, 3])))
    failpoints.arm("create.frozen", lambda: frozen.append(portrait(tree)))
    with attached(stage, lambda: agent.stir(3)):
        for _ in range(2):
            frozen.clear()
            taken, _ = stage.snapshot()
            assert portrait(taken) == frozen[0]


def test_an_agent_that_takes_anothers_place_during_the_copy_is_not_believed(stage: Stage) -> None:
    """Who was attached first may have used another mount."""
    tree = plant(stage)
    first = attached(stage)
    first.__enter__()
    second = attached(stage)

    def replace() -> None:
        first.__exit__(None, None, None)
        second.__enter__()

    failpoints.arm("create.copied", replace)
    try:
        _, outcome = stage.snapshot()
    finally:
        second.__exit__(None, None, None)
    assert cloned_in_the_freeze(outcome)
    assert outcome.entries == sum(1 for _ in tree.rglob("*"))


def test_for_an_agent_that_answered_elsewhere_no_second_copy_is_made_in_vain(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    plant(stage)
    begun: list[bool] = []
    failpoints.arm("create.looked", lambda: begun.append(True))
    with attached(stage):
        for _ in range(3):
            stage.snapshot()
    one_mount = stage.views.agent_root == stage.ws.root
    if one_mount:
        assert len(begun) == 3 or unwatched(caplog)
    else:
        assert len(begun) == 1 or "nobody could watch" in caplog.text

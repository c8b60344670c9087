"""Each guard of the code is needed: without it, some order of the steps breaks what must hold (SPEC §6).

The scenarios are those of tests/interleavings, and each is played twice here within the same bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from tests.interleavings import inserts, runs
from tests.interleavings.stage import Broken, Scene, every_order
from tests.interleavings.world import World, on_stage
from tests.mutants import broken_code
from tests.mutants.guards import without_for_everybody

pytestmark = [pytest.mark.rule("SPEC §6"), pytest.mark.timeout(600)]

SWITCHES: Final = 2
"""So many interruptions are enough for each mutant to fall."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`reason` is said by the check that finds it."""

    mutate: broken_code.Mutate
    scenario: Callable[[World], Scene]
    reason: str


MUTANTS: Final = (
    Mutant(
        broken_code.settle_without_the_fence_clause, runs.apply_and_heir, "the run of the heir was ended by the zombie"
    ),
    Mutant(broken_code.look_before_the_release, inserts.release_and_insert, "nobody has looked again"),
    Mutant(broken_code.rest_without_looking_again, inserts.rest_and_insert, "nobody has rung again"),
    Mutant(broken_code.lock_and_check_in_one_statement, inserts.switch_and_drop, "2 of them were accepted"),
    Mutant(broken_code.lock_under_repeatable_read, inserts.switch_and_drop, "2 of them were accepted"),
    Mutant(broken_code.check_before_the_lock, inserts.switch_and_drop, "2 of them were accepted"),
)
SCENARIOS: Final = tuple(dict.fromkeys(mutant.scenario for mutant in MUTANTS))


@pytest.fixture
def world(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with on_stage(monkeypatch) as world:
        yield world


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_with_the_guard_it_holds_after_every_order(world: World, scenario: Callable[[World], Scene]) -> None:
    assert every_order(partial(scenario, world), most_switches=SWITCHES)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mutate.__name__)
def test_without_the_guard_an_order_is_found_that_breaks_it(
    world: World, monkeypatch: pytest.MonkeyPatch, mutant: Mutant
) -> None:
    mutant.mutate(monkeypatch)
    with pytest.raises(Broken, match=mutant.reason):
        every_order(partial(mutant.scenario, world), most_switches=SWITCHES)


RACED: Final = {
    "tasks_ref_snapshot_is_live": inserts.insert_and_mark,
    "tasks_live_in_enabled_workspace": inserts.disable_and_straight_insert,
}


@pytest.mark.rule("P0-01")
@pytest.mark.parametrize("name", RACED)
def test_with_the_foreign_key_no_order_lets_both_of_two_win(world: World, name: str) -> None:
    assert every_order(partial(RACED[name], world))


@pytest.mark.rule("P0-01")
@pytest.mark.parametrize("name", RACED)
def test_without_the_foreign_key_an_order_lets_both_of_two_win(world: World, name: str) -> None:
    with without_for_everybody(name), pytest.raises(Broken):
        every_order(partial(RACED[name], world))

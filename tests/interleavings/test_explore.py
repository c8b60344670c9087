"""The exploration itself: it plays every order, each once; and a play sees who waits for whom."""

from __future__ import annotations

from math import comb

import pytest
from django.db import transaction

from tests.engine.world import query
from tests.factories import make_workspace
from tests.interleavings.actor import pause
from tests.interleavings.explore import NotRepeatable, Schedule, Trace, explore
from tests.interleavings.stage import Broken, Scene, act, every_order
from tests.interleavings.world import World


def _play(schedule: Schedule, *steps: int) -> Trace:
    """Actors with so many steps each, none of which ever waits."""
    trace, left = Trace(), list(steps)
    while any(left):
        left[trace.choose(schedule, [number for number, count in enumerate(left) if count])] -= 1
    return trace


@pytest.mark.parametrize("steps", [(1, 1), (2, 3), (4, 4), (5, 0)])
def test_every_merge_of_two_sequences_is_played_once(steps: tuple[int, int]) -> None:
    played = [tuple(trace.choices) for trace in explore(lambda schedule: _play(schedule, *steps))]
    assert len(played) == len(set(played)) == comb(sum(steps), steps[0])


@pytest.mark.parametrize("most", [0, 1, 2, 3, 4])
def test_a_bound_leaves_out_just_the_orders_with_more_switches(most: int) -> None:
    everything = list(explore(lambda schedule: _play(schedule, 4, 4)))
    within = [trace.choices for trace in everything if trace.switches() <= most]
    bounded = [trace.choices for trace in explore(lambda schedule: _play(schedule, 4, 4), most_switches=most)]
    assert sorted(bounded) == sorted(within)
    assert len(within) < len(everything)


def test_a_play_that_does_not_repeat_itself_is_not_taken_for_one_that_does() -> None:
    lengths = iter([(1, 1), (1, 0)])
    with pytest.raises(NotRepeatable):
        list(explore(lambda schedule: _play(schedule, *next(lengths))))


def _lock(wsid: str, *more: str) -> None:
    with transaction.atomic():
        for one in (wsid, *more):
            query("SELECT 1 FROM workspaces WHERE wsid = %s FOR UPDATE", one)


def test_who_waits_for_a_lock_is_not_chosen_until_it_is_free(world: World) -> None:
    wsid = make_workspace().wsid
    trace, _ = act([lambda: _lock(wsid), lambda: _lock(wsid)], (0, 1))
    assert trace.said == [
        "  A SELECT workspaces … FOR UPDATE",
        "  B SELECT workspaces … FOR UPDATE … waits",
        "  A COMMIT",
        "  B COMMIT",
    ]
    assert trace.ready == [(0, 1), (0, 1), (0,), (1,)]


def test_two_that_wait_for_each_other_are_a_deadlock_and_no_end(world: World) -> None:
    one, other = make_workspace().wsid, make_workspace().wsid
    with pytest.raises(RuntimeError, match="deadlock"):
        act([lambda: _lock(one, other), lambda: _lock(other, one)], (0, 1, 0, 1))


def test_the_order_that_breaks_what_must_hold_is_told(world: World) -> None:
    seen: list[str] = []

    def look() -> int:
        pause("look")
        found = len(seen)
        pause("write")
        seen.append("found")
        return found

    def scene() -> Scene:
        seen.clear()

        def check(first: int, second: int) -> str:
            assert {first, second} == {0, 1}
            return "one after the other"

        return Scene(look, look, check)

    with pytest.raises(Broken, match=r"(?s)A look.*B look.*(A|B) write.*(A|B) write"):
        every_order(scene)

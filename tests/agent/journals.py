"""Whether what the journal program left in a tree is the state of one moment."""

from __future__ import annotations

from pathlib import Path

from tests.agent.journal_program import RECORD, RING, SLOTS, record


def records(tree: Path, name: str) -> int:
    """How many records were written to the journal, the last of which are in it, whole, right and in their places."""
    path = tree / name
    data = path.read_bytes() if path.exists() else b""
    assert len(data) % RECORD == 0, f"{name} ends in the middle of a record"
    slots = [data[at : at + RECORD] for at in range(0, len(data), RECORD)]
    numbers = [int(slot.split()[1]) for slot in slots]
    count = max(numbers, default=-1) + 1
    for number in range(max(count - SLOTS, 0), count):
        assert slots[number % SLOTS] == record(name, number), f"{name} has a wrong record in the place of {number}"
    return count


def assert_one_moment(tree: Path) -> int:
    """The journals of the ring and each pair are of one moment; how many records there are."""
    ring = [records(tree, f"ring-{place}") for place in range(RING)]
    assert ring == sorted(ring, reverse=True), f"a follower is ahead: {ring}"
    assert ring[0] - ring[-1] <= 1, f"not one moment: {ring}"
    total = sum(ring)
    for place in range(RING):
        first, second = (records(tree, f"pair-{place}-{which}") for which in ("first", "second"))
        assert second <= first <= second + 1, f"pair {place} is not of one moment: {first}, {second}"
        total += first + second
    return total

"""All orders of the steps of some actors, each once: pure.

A play follows a schedule as far as it goes, and then goes on with whoever acted last while that one is ready. It tells
who was ready at each step; every other choice that there was makes another schedule. So the number and the kind of an
actor's steps may depend on what the others have done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Schedule: TypeAlias = tuple[int, ...]
"""Whose turn it is, step by step."""


class NotRepeatable(RuntimeError):
    """The same choices led to another place: the actors depend on something that the schedule does not rule."""


@dataclass
class Trace:
    """What happened in one play."""

    choices: list[int] = field(default_factory=list)
    ready: list[tuple[int, ...]] = field(default_factory=list)
    """Who could have been chosen, at each step."""
    said: list[str] = field(default_factory=list)

    def choose(self, schedule: Schedule, ready: Sequence[int]) -> int:
        """Whose turn it is now."""
        last = self.choices[-1] if self.choices else ready[0]
        chosen = last if last in ready else ready[0]
        if len(self.choices) < len(schedule):
            chosen = schedule[len(self.choices)]
            if chosen not in ready:
                raise NotRepeatable(f"{schedule}: {chosen} is not ready after\n{self}")
        self.choices.append(chosen)
        self.ready.append(tuple(ready))
        return chosen

    def switches(self) -> int:
        """How often somebody was interrupted who could have gone on."""
        pairs = zip(self.choices, self.choices[1:], self.ready[1:], strict=False)
        return sum(before != after and before in ready for before, after, ready in pairs)

    def others(self, since: int) -> Iterator[Trace]:
        """The choices that there were, from step `since` on: each the beginning of another play."""
        for step in range(since, len(self.choices)):
            for other in self.ready[step]:
                if other != self.choices[step]:
                    yield Trace([*self.choices[:step], other], self.ready[: step + 1])

    def __str__(self) -> str:
        return "\n".join(self.said)


def explore(play: Callable[[Schedule], Trace], *, most_switches: int | None = None) -> Iterator[Trace]:
    """Play all schedules, or all in which nobody is interrupted more than `most_switches` times altogether."""
    waiting: list[Schedule] = [()]
    while waiting:
        schedule = waiting.pop()
        trace = play(schedule)
        yield trace
        for other in trace.others(len(schedule)):
            if most_switches is None or other.switches() <= most_switches:
                waiting.append(tuple(other.choices))

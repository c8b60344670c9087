"""Two actors under a schedule, and whether one waits for the other, which PostgreSQL says."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper
from dramatiq import Message

from tasks.doorbell import DoorbellBroker
from tasks.locks import Guard, GuardPool
from tests.interleavings.actor import Actor, acting, pause
from tests.interleavings.explore import Schedule, Trace, explore
from tests.waiting import LIMIT

_LOOK: Final = 0.003
"""Seconds after which an actor that has not come to its next step may be waiting for a lock."""


class Broken(AssertionError):
    """What must hold after every order of the steps does not; the order is told."""


@dataclass(frozen=True)
class Scene:
    """Fresh rows, two calls, and what must be true when both have ended.

    `check` gets what they returned, or the refusals that they raised; it asserts, and names the kind of end.
    """

    first: Callable[[], object]
    second: Callable[[], object]
    check: Callable[[Any, Any], str]


Scenario = Callable[[], Scene]


def every_order(scenario: Scenario, *, most_switches: int | None = None) -> Counter[str]:
    """Play all orders of the steps, each on fresh rows; how often each kind of end was seen.

    Raises Broken at the first end at which the check fails.
    """
    ends: Counter[str] = Counter()

    def play(schedule: Schedule) -> Trace:
        scene = scenario()
        trace, results = act([scene.first, scene.second], schedule)
        try:
            ends[scene.check(*results)] += 1
        except AssertionError as error:
            raise Broken(f"{error}\nThe order was\n{trace}") from error
        return trace

    for _ in explore(play, most_switches=most_switches):
        pass
    return ends


def act(calls: Sequence[Callable[[], object]], schedule: Schedule) -> tuple[Trace, list[object]]:
    """One play: the trace, and what the calls returned or were refused with."""
    trace = Trace()
    actors = [Actor("AB"[number], call) for number, call in enumerate(calls)]
    try:
        _settle(actors)
        while not all(actor.is_over for actor in actors):
            ready = [number for number, actor in enumerate(actors) if actor.is_ready]
            if not ready:
                raise RuntimeError(f"a deadlock after\n{trace}")
            actor = actors[trace.choose(schedule, ready)]
            trace.said.append(f"  {actor.name} {actor.label}")
            actor.go_on()
            # The others after it: what it does in this step may set them free.
            _settle(sorted(actors, key=lambda other: other is not actor))
            if actor.is_blocked:
                trace.said[-1] += " … waits"
    finally:
        for actor in actors:
            actor.abandon()
        for actor in actors:
            actor.join()
    for actor in actors:
        if actor.error is not None:
            raise RuntimeError(f"{actor.name} failed after\n{trace}") from actor.error
    return trace, [actor.result for actor in actors]


def _settle(actors: Sequence[Actor]) -> None:
    """Until each stands before its next step, is over, or waits for a lock that another one holds."""
    end = time.monotonic() + LIMIT
    for actor in actors:
        others = {other.backend_pid for other in actors if other is not actor}
        while not actor.wait_standing(_LOOK):
            actor.is_blocked = bool(others & _blockers(actor))
            if actor.is_blocked:
                break
            if time.monotonic() > end:
                raise RuntimeError(f"{actor.name} neither waits nor goes on at {actor.label}")
        else:
            actor.is_blocked = False


def _blockers(actor: Actor) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_blocking_pids(%s)", [actor.backend_pid])
        return set(cursor.fetchone()[0])


class Bells:
    """The bells that were rung while the stage was set, by whom, and not given to the broker."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, str]] = []
        """(actor, wsid)"""

    def by(self, actor: str, wsid: str) -> bool:
        """Whether this actor has rung for this workspace."""
        return (actor, wsid) in self.rung


def set_stage(monkeypatch: pytest.MonkeyPatch) -> Bells:
    """Make commits, RUN and bells steps of whoever is an actor."""
    bells = Bells()
    commit, acquire, release = DatabaseWrapper.commit, GuardPool.acquire, GuardPool.release

    def commit_as_step(self: DatabaseWrapper) -> None:
        pause("COMMIT")
        commit(self)

    def acquire_as_step(self: GuardPool, wsid: str) -> Guard | None:
        pause("take RUN")
        return acquire(self, wsid)

    def release_as_step(self: GuardPool, guard: Guard) -> None:
        pause("free RUN")
        release(self, guard)

    def enqueue_as_step(self: DoorbellBroker, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        pause("ring")
        bells.rung.append((acting(), message.args[0]))
        return message

    monkeypatch.setattr(DatabaseWrapper, "commit", commit_as_step)
    monkeypatch.setattr(GuardPool, "acquire", acquire_as_step)
    monkeypatch.setattr(GuardPool, "release", release_as_step)
    monkeypatch.setattr(DoorbellBroker, "enqueue", enqueue_as_step)
    return bells

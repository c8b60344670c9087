"""What the leader does from time to time: only the leader, stopped soon; one that fails harms no other (SPEC §6)."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from executor.contract import ExecutorFault, FaultReason, StopReason
from tasks.chores import Chore, Chores, Tools
from tasks.locks import GuardPool
from tasks.registry import registered_chores
from tests.waiting import LIMIT
from wvs_project.config import get_config

pytestmark = pytest.mark.rule("SPEC §6")


class Noting:
    """A chore that notes that it was done, and does `then`."""

    name = "noting"

    def __init__(self, then: Callable[[Tools], None] = lambda tools: None) -> None:
        self.done = threading.Event()
        self._then = then
        self.is_wanted = True

    def wanted(self) -> bool:
        return self.is_wanted

    def run(self, tools: Tools) -> None:
        self.done.set()
        self._then(tools)


MakeChores = Callable[..., Chores]


@pytest.fixture
def leading() -> threading.Event:
    return threading.Event()


@pytest.fixture
def make_chores(guards: GuardPool, leading: threading.Event) -> Iterator[MakeChores]:
    made: list[Chores] = []

    def make(*chores: Chore, interval: float = 0.01, connect: Callable[[], Any] = lambda: None) -> Chores:
        config = dataclasses.replace(get_config(), sweep_interval=interval)
        made.append(Chores(chores, config=config, guards=guards, leading=leading, connect=connect))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_the_leader_does_them(make_chores: MakeChores, leading: threading.Event) -> None:
    chore = Noting()
    leading.set()
    make_chores(chore).start()
    assert chore.done.wait(LIMIT)
    chore.done.clear()
    assert chore.done.wait(LIMIT), "again after the interval"


def test_whoever_stands_by_does_none(
    make_chores: MakeChores, leading: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = threading.Semaphore(0)

    def look(seconds: float | None = None) -> bool:
        looks.release()
        return threading.Event.wait(leading, 0.01)

    monkeypatch.setattr(leading, "wait", look)
    chore = Noting()
    make_chores(chore).start()
    for _ in range(3):
        assert looks.acquire(timeout=LIMIT)
    assert not chore.done.is_set()
    leading.set()
    assert chore.done.wait(LIMIT)


def test_one_that_fails_harms_no_other(make_chores: MakeChores) -> None:
    def broken(tools: Tools) -> None:
        raise ZeroDivisionError

    def faulty(tools: Tools) -> None:
        raise ExecutorFault(FaultReason.UNAVAILABLE, "the disk is away")

    last = Noting()
    make_chores(Noting(broken), Noting(faulty), last).round()
    assert last.done.is_set()


def test_a_stop_is_obeyed_in_the_midst_of_a_round(make_chores: MakeChores, leading: threading.Event) -> None:
    heard: list[StopReason | None] = []

    def patient(tools: Tools) -> None:
        tools.stop.wait(LIMIT)
        heard.append(tools.stop.reason)
        tools.stop.check()

    slow, never = Noting(patient), Noting()
    leading.set()
    chores = make_chores(slow, never)
    chores.start()
    assert slow.done.wait(LIMIT)
    chores.stop()
    assert heard == [StopReason.SHUTDOWN]
    assert not never.done.is_set()


def test_a_volume_that_is_away_is_asked_for_again_in_the_next_round(
    make_chores: MakeChores, leading: threading.Event
) -> None:
    asked: list[int] = []

    def connect() -> None:
        asked.append(1)
        if len(asked) < 3:
            raise OSError("not mounted")

    chore = Noting()
    leading.set()
    make_chores(chore, connect=connect).start()
    assert chore.done.wait(LIMIT)
    assert len(asked) >= 3


def test_the_apps_have_registered_theirs() -> None:
    assert [chore.name for chore in registered_chores()] == [
        "task-days",
        "sweep",
        "drift",
        "retention",
        "snapshot-days",
    ]
    assert [chore.name for chore in registered_chores(prompt=True)] == ["orders"]


def test_where_nothing_is_wanted_the_volume_is_not_looked_for(make_chores: MakeChores) -> None:
    asked: list[int] = []
    idle, wanted = Noting(), Noting()
    idle.is_wanted = wanted.is_wanted = False
    chores = make_chores(idle, wanted, connect=lambda: asked.append(1))
    chores.round()
    assert asked == []
    wanted.is_wanted = True
    chores.round()
    assert asked == [1]
    assert (idle.done.is_set(), wanted.done.is_set()) == (False, True)

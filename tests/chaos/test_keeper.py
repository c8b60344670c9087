"""What dies is started again, with what it was told for its next life only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.chaos.keeper import Keeper, Unit
from tests.servers import Servers
from tests.waiting import eventually

SLEEPER = "import os, sys, time; print(os.environ.get('TOLD', 'nothing'), flush=True); time.sleep(600)"


@pytest.fixture
def keeper(servers: Servers) -> Iterator[Keeper]:
    keeper = Keeper(str(servers.base))
    keeper.start()
    yield keeper
    keeper.stop()


@pytest.fixture
def unit(keeper: Keeper, tmp_path: Path) -> Unit:
    unit = Unit("sleeper-0", [sys.executable, "-c", SLEEPER], {}, tmp_path / "log")
    keeper.add(unit)
    _said(unit, 1)
    return unit


def _said(unit: Unit, lives: int) -> list[str]:
    """What it said at the begin of each life, once there were so many."""

    def said() -> list[str]:
        lines = unit.log.read_text().split() if unit.log.exists() else []
        return lines if len(lines) >= lives else []

    return eventually(said, f"{lives} lives")


def test_what_is_killed_lives_again_and_its_death_is_known(keeper: Keeper, unit: Unit) -> None:
    pid = keeper.signal(unit.name, SIGKILL)
    _said(unit, 2)
    (death,) = keeper.deaths
    assert (death.name, death.pid, death.code) == (unit.name, pid, -SIGKILL)
    assert keeper.killed[death.pid] <= death.at
    assert keeper.pid(unit.name) not in (None, pid)


def test_one_life_is_armed_and_the_next_is_not(keeper: Keeper, unit: Unit) -> None:
    keeper.restart_with(unit.name, TOLD="this")
    _said(unit, 2)
    keeper.signal(unit.name, SIGKILL)
    assert _said(unit, 3) == ["nothing", "this", "nothing"]


def test_what_is_left_dead_stays_dead_until_it_is_wanted(keeper: Keeper, unit: Unit) -> None:
    keeper.leave_dead(unit.name)
    eventually(lambda: keeper.deaths, "its death")
    assert keeper.pid(unit.name) is None
    keeper.want(unit.name)
    _said(unit, 2)


def test_at_the_end_nothing_of_it_runs(keeper: Keeper, unit: Unit) -> None:
    pid = keeper.pid(unit.name)
    keeper.stop()
    assert not Path(f"/proc/{pid}").exists()

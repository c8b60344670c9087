"""One chaos run: load, agents and faults for a while, then peace, then the verdict."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import httpx

from tests.chaos import executions, verdict
from tests.chaos.agents import Agents
from tests.chaos.base import Base
from tests.chaos.clients import Clients
from tests.chaos.fleet import LIVE, Fleet, running_fleet
from tests.chaos.outages import Outages
from tests.chaos.victims import Processes
from wvs_project.stack.errors import StackError

_AGENTS: Final = 4
_INIT_SECONDS: Final = 30.0
_QUIET_BETWEEN: Final = (0.3, 1.5)
_RARE_EACH: Final = 60.0
"""Seconds between faults that take long to get over."""
_FAULT_OVERDUE: Final = 120.0
_STUCK: Final = f"""
SELECT DISTINCT ON (wsid) wsid, task_id, op, status, attempt, outcome_unknown, next_run_at - now(), error
FROM wvs.tasks WHERE status IN {LIVE} ORDER BY wsid, seq"""


@dataclass
class Report:
    """What a run did and found."""

    seed: int
    seconds: float
    faults: Counter[str] = field(default_factory=Counter)
    armed: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    repeated: int = 0
    holds: int = 0
    freezes: int = 0
    entries: int = 0
    """What the volume holds at the end."""
    errors: Counter[str] = field(default_factory=Counter)
    """Why tasks died."""
    longest_standstill: float = 0.0
    settled_after: float = 0.0
    violations: list[str] = field(default_factory=list)


def run(
    base: Base,
    *,
    seed: int,
    seconds: float,
    settle_limit: float,
    say: Callable[[str], None] = print,
    keep: Path | None = None,
) -> Report:
    """Everything, on a base of its own; the report. The logs of all processes are kept in `keep`."""
    report = Report(seed, seconds)
    with running_fleet(base) as fleet:
        wsids = [f"agent-{number}" for number in range(_AGENTS)]
        _make_workspaces(fleet, wsids)
        agents = Agents(fleet, wsids)
        agents.wait_all_write(_INIT_SECONDS)
        clients = Clients(fleet.api_url, seed, wsids)
        clients.start()
        storm = Storm(fleet, agents, seed, say)
        try:
            storm.rage(seconds)
        finally:
            clients.stop()
        say(f"the faults are over; {fleet.live()} tasks are not finished")
        try:
            _wait_for_peace(report, fleet, agents, settle_limit)
            _fill_in(report, fleet, storm, clients, agents)
        finally:
            if keep is not None:
                shutil.copytree(fleet.dir, keep / f"seed-{seed}", dirs_exist_ok=True)
    return report


def _wait_for_peace(report: Report, fleet: Fleet, agents: Agents, limit: float) -> None:
    """Every task finishes (I7), every agent writes again: else that is a violation."""
    try:
        report.settled_after = fleet.wait_settled(limit)
        agents.wait_all_write(limit)
    except StackError as error:
        report.violations.append(f"I7: {error}")
        report.violations += [f"I7: {row}" for row in fleet.query(_STUCK)]


class Storm:
    """Two lanes of faults, each in the order that the seed gives: processes in one, all else in the other."""

    def __init__(self, fleet: Fleet, agents: Agents, seed: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._agents = agents
        self._stopping = threading.Event()
        self._rngs = (Random(f"{seed} processes"), Random(f"{seed} outages"))
        self.processes = Processes(fleet, self._rngs[0], self._stopping)
        self.outages = Outages(fleet, self._rngs[1], self._stopping)
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []

    def rage(self, seconds: float) -> None:
        """Faults for so long. Outages are made by this thread: it outlives what it starts."""
        until = time.monotonic() + seconds
        other = threading.Thread(target=self._lane_of_processes, args=(until,), daemon=True)
        other.start()
        rare_at = time.monotonic() + _RARE_EACH / 3
        for name in _bags(self.outages.catalogue(), self._rngs[1]):
            if not self._wait(self._rngs[1], until):
                break
            if self.outages.rare() and time.monotonic() > rare_at:
                rare_at += _RARE_EACH
                self._do(self.outages, self._rngs[1].choice(self.outages.rare()))
            self._do(self.outages, name)
            self._agents.look()
        self._stopping.set()
        other.join(_FAULT_OVERDUE)

    def _lane_of_processes(self, until: float) -> None:
        for name in _bags(self.processes.catalogue(), self._rngs[0]):
            if not self._wait(self._rngs[0], until):
                return
            try:
                self._do(self.processes, name)
            except Exception as error:
                self.failures.append(f"the fault {name} failed: {error!r}")

    def _wait(self, rng: Random, until: float) -> bool:
        pause = rng.uniform(*_QUIET_BETWEEN)
        return not self._stopping.wait(max(0.0, min(pause, until - time.monotonic()))) and time.monotonic() < until

    def _do(self, lane: Processes | Outages, name: str) -> None:
        begun = time.monotonic()
        done = getattr(lane, name)()
        self.done[name] += bool(done)
        self._say(f"  {name}{'' if done else ' (nobody there)'} {time.monotonic() - begun:.1f} s")


def _bags(names: Sequence[str], rng: Random) -> Iterator[str]:
    """Each in its turn, in a new order each time."""
    while True:
        yield from rng.sample(names, len(names))


def _make_workspaces(fleet: Fleet, wsids: Sequence[str]) -> None:
    with httpx.Client(base_url=fleet.api_url, timeout=_INIT_SECONDS, trust_env=False) as http:
        for wsid in wsids:
            key = {"Idempotency-Key": f"setup-{wsid}"}
            said = http.post("/workspaces", json={"wsid": wsid, "owner": "agent"}, headers=key).json()
            task = http.get(f"/tasks/{said['init_task_id']}?wait=20").json()
            assert task["status"] == "SUCCEEDED", task


def _fill_in(report: Report, fleet: Fleet, storm: Storm, clients: Clients, agents: Agents) -> None:
    ledger, keeper = clients.ledger, fleet.keeper
    holds = executions.read_holds(fleet.locks_log, keeper.killed)
    report.faults, report.armed = storm.done, storm.processes.armed
    report.deaths = Counter(f"{death.name.partition('-')[0]} ({death.code})" for death in keeper.deaths)
    report.tasks = Counter(
        dict(fleet.query("SELECT op || ' ' || status, count(*)::int FROM wvs.tasks GROUP BY 1 ORDER BY 1"))
    )
    report.errors = Counter(
        dict(fleet.query("SELECT error ->> 'reason', count(*)::int FROM wvs.tasks WHERE status = 'DEAD' GROUP BY 1"))
    )
    space = os.statvfs(fleet.base.ws)
    report.entries = space.f_files - space.f_ffree
    report.answers, report.accepted, report.repeated = ledger.answers, len(ledger.accepted), ledger.repeated
    report.holds = len(holds)
    report.freezes = sum(status.freezes for status in agents.seen.values())
    report.longest_standstill = agents.longest_standstill
    report.violations += [
        *storm.failures,
        *ledger.wrong,
        *(f"I9: {first} and {second}" for first, second in executions.overlaps(holds)),
        *agents.broken_trees(),
        *agents.passed_by(keeper.deaths),
        *verdict.violations(fleet, ledger.accepted),
    ]

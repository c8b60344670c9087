"""One chaos run: load, agents and faults for a while, then peace, then the verdict."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos import executions, verdict
from tests.chaos.agents import Agents
from tests.chaos.base import Base
from tests.chaos.clients import Clients
from tests.chaos.fleet import LIVE, Fleet, running_fleet
from tests.chaos.load import make_workspaces
from tests.chaos.storm import Storm
from wvs_project.stack.errors import StackError

_AGENTS: Final = 4
_INIT_SECONDS: Final = 30.0
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
    executed: Counter[str] = field(default_factory=Counter)
    """How many runs each executor that is apart has brought to an end of some kind."""
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
    executors: int = 0,
    say: Callable[[str], None] = print,
    keep: Path | None = None,
) -> Report:
    """Everything, on a base of its own; the report. The logs of all processes are kept in `keep`.

    With executors as services of their own, if a number is given.
    """
    report = Report(seed, seconds)
    with running_fleet(base, executors=executors) as fleet:
        wsids = fleet.executors.spread("agent-", _AGENTS)
        make_workspaces(fleet, wsids)
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


def _fill_in(report: Report, fleet: Fleet, storm: Storm, clients: Clients, agents: Agents) -> None:
    ledger, keeper = clients.ledger, fleet.keeper
    holds = executions.read_holds(fleet.locks_log, keeper.killed)
    report.faults, report.armed = storm.done, storm.armed
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
    for service in fleet.executors.services:
        report.executed[service.name] = len(fleet.log_lines(service.name, "execute.began"))
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

"""The invariants I1–I12 of the task engine, checked by SQL and by looking at the disk (SPEC §9: `check_invariants`).

Each is a small function that says what it checks and what it cannot see. I9 of the executor's own intervals is not
here: only whoever runs the executors can record them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from executor.contract import StopSignal
from executor.upkeep import Upkeep
from snapshots.inspection import Inspector
from snapshots.invariants import catalog, guards, history, rows
from snapshots.invariants.disk import DiskJudge
from snapshots.invariants.violation import Violation
from tasks.chores import Tools
from tasks.locks import GuardPool
from wvs_project.config import get_config
from wvs_project.db import direct_conninfo

__all__ = ["Examination", "Violation", "check", "examine"]

Check: TypeAlias = Callable[[], Iterator[Violation]]

ALWAYS: Final[tuple[Check, ...]] = (
    catalog.constraints_are_in_place,
    catalog.triggers_are_in_place,
    rows.i1_one_running,
    rows.i3_in_order,
    rows.i4_attempts_and_fences,
    rows.i5_succeeded_creates_have_rows,
    rows.i6_references,
    rows.i7_nothing_is_stuck,
    rows.i8_rows_of_success_only,
    rows.i8_pointer_of_the_last_switch,
    guards.i10_guards_hold_back_nothing,
    rows.i11_one_row_for_a_key,
)
WHEN_SETTLED: Final[tuple[Check, ...]] = (rows.i7_all_are_finished,)
OF_HISTORY: Final[tuple[Check, ...]] = (
    history.i2_legal_transitions,
    history.i3_starts_in_order,
    history.i4_fences_rise,
    history.i8_nothing_after_the_end,
    history.i8_runs_end_where_they_began,
    history.i9_no_two_at_once,
)
ON_DISK: Final = "disk.i4_i5_i12"


@dataclass(frozen=True, slots=True)
class Examination:
    """What a look brought to light."""

    violations: tuple[Violation, ...]
    checked: tuple[str, ...]
    """The names of the checks."""
    unseen: tuple[str, ...]
    """What could not be looked at, and why."""


def check(upkeep: Upkeep | None, *, settled: bool, history: bool) -> list[Violation]:
    """What is broken: see `examine`. An empty list says nothing of what could not be seen."""
    return list(examine(upkeep, settled=settled, with_history=history).violations)


def examine(upkeep: Upkeep | None, *, settled: bool, with_history: bool) -> Examination:
    """Check all that can be seen. `upkeep` None: no disk; `settled`: faults have stopped and no task is left to run;
    `with_history`: with the table task_history, if there is one.

    Writes nothing but the numbers that it draws from task_fence. Holds RUN of a workspace only while it looks again at
    something that looks broken on its disk. Raises ExecutorFault(UNAVAILABLE), DatabaseError, psycopg.Error.
    """
    unseen: list[str] = []
    checks = [*ALWAYS]
    if settled:
        checks += WHEN_SETTLED
    else:
        unseen.append("I7: whether every task finishes, since they are not said to be settled")
    if with_history and history.has_history():
        checks += OF_HISTORY
    else:
        unseen.append("I2, I9, and I3, I4, I8 over time: there is no table task_history")
    violations = [violation for one in checks for violation in one()]
    names = [f"{one.__module__.rpartition('.')[2]}.{one.__name__}" for one in checks]
    if upkeep is None:
        unseen.append("I5, I12: the disk was not looked at")
    else:
        names.append(ON_DISK)
        violations += _on_disk(upkeep, unseen)
    return Examination(tuple(violations), tuple(names), tuple(unseen))


def _on_disk(upkeep: Upkeep, unseen: list[str]) -> Iterator[Violation]:
    pool, stop = GuardPool(direct_conninfo(application_name="wvs-check")), StopSignal()
    try:
        inspector = Inspector(Tools(upkeep, pool, stop, get_config()), DiskJudge())
        for report in inspector.inspect_all():
            yield from report.findings
            if report.busy:
                unseen.append(f"I5, I12 of {report.wsid}: a task ran whenever it was looked at")
            unseen.extend(f"I5, I12 of {report.wsid}: {problem}" for problem in report.problems)
    finally:
        pool.close()
        stop.close()

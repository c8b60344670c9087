"""Each trouble that an operation may meet, on its first and on its last attempt, and what its probe may meet then.

The random examples of test_model.py come to these when they come to them; here none is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

import pytest

from executor.contract import FaultReason
from tasks.models import Op
from tests.model.happenings import OF_A_PROBE, Happening, Kind
from tests.model.machine import SEEN, Machine
from tests.model.state import LIVE, MAX_ATTEMPTS, ModelTask

FAULTS: Final = [Happening(Kind.FAULT, *said) for said in product(FaultReason, (False, True))]
OTHERS: Final = [Happening(kind) for kind in Kind if kind is not Kind.FAULT]
PROBES: Final = [Happening(kind) for kind in OF_A_PROBE] + [Happening(Kind.FAULT, FaultReason.UNSAFE_PATH)]


def _machine(op: str) -> tuple[Machine, ModelTask]:
    """A task that is due, and nothing before it."""
    machine = Machine()
    machine.begin(None if op == Op.INIT_WORKSPACE else 1)
    if op != Op.INIT_WORKSPACE:
        machine.ask(0, op, 1, fresh=True)
    ((_, task),) = [one for one in machine.model.tasks() if one[1].is_live]
    assert task.op == op
    return machine, task


def _play(op: str, trouble: Happening, probe: Happening | None, *, last: bool) -> None:
    machine, task = _machine(op)
    (workspace,) = machine.model.workspaces.values()
    try:
        machine.the_rows_are_as_the_model_says()
        if last and not task.irrevocable:
            for _ in range(MAX_ATTEMPTS - 1):
                machine.serve_bell(workspace, [Happening(Kind.FAULT)], [])
                machine.time_passes(0)
        machine.serve_bell(workspace, [trouble], [])
        machine.scheduler_looks()
        machine.time_passes(0)
        machine.serve_bell(workspace, [], [probe] if probe is not None else [])
        machine.scheduler_looks()
        machine.serve_well(0)
        machine.the_executor_was_asked_what_the_model_says()
        machine.no_invariant_of_the_tables_is_broken()
        assert task.status not in LIVE
    finally:
        machine.teardown()


_PROBED: Final = (Kind.LOST, Kind.UNHEARD)
"""Nothing was published, or something was: the others that leave it unknown leave the same."""


def _troubles() -> Iterator[tuple[Happening, Happening | None, bool]]:
    """(what the run meets, what its probe meets, whether it is the last attempt)"""
    yield from ((fault, None, False) for fault in FAULTS)
    yield from ((fault, None, True) for fault in (Happening(Kind.FAULT), Happening(Kind.FAULT, unknown=True)))
    for trouble, last in product(OTHERS, (False, True)):
        yield from ((trouble, probe, last) for probe in (PROBES if trouble.kind in _PROBED else [None]))


@pytest.mark.rule("SPEC §6")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("op", Op.values)
def test_after_each_trouble_the_rows_are_as_the_model_says_and_the_task_ends(op: str) -> None:
    SEEN.clear()
    for trouble, probe, last in _troubles():
        try:
            _play(op, trouble, probe, last=last)
        except Exception as error:
            error.add_note(f"{op}: {trouble}, then the probe: {probe}; on the last attempt: {last}")
            raise
    ends = {f"{op} {status}" for status in ("SUCCEEDED", "DEAD", "CANCELED")}
    seen = {f"{op} SUCCEEDED"} if op == Op.SNAPSHOT_DROP else ends
    assert set(SEEN) & ends == seen
    assert {f"{op} {status}" for status in ("PENDING", "RUNNING", "FAILED", "FAILED ?")} <= set(SEEN)


_BEFORE_THE_CANCEL: Final[dict[str, list[Happening]]] = {
    "PENDING": [],
    "FAILED": [Happening(Kind.FAULT)],
    "FAILED, outcome unknown": [Happening(Kind.CRASH)],
    "RUNNING, lost": [Happening(Kind.LOST)],
    "RUNNING, lost after": [Happening(Kind.LOST_AFTER)],
    "FAILED, handed back": [Happening(Kind.SHUTDOWN)],
    "finished": [Happening()],
}


@pytest.mark.rule("P1-02")
@pytest.mark.parametrize("before", _BEFORE_THE_CANCEL)
@pytest.mark.parametrize("op", Op.values)
def test_after_a_cancel_in_each_state_the_rows_are_as_the_model_says_and_the_task_ends(op: str, before: str) -> None:
    machine, task = _machine(op)
    (workspace,) = machine.model.workspaces.values()
    try:
        if _BEFORE_THE_CANCEL[before]:
            machine.serve_bell(workspace, _BEFORE_THE_CANCEL[before], [])
        for _ in range(2):
            machine.cancel(4 * machine.model.tasks().index((workspace, task)))
            machine.the_rows_are_as_the_model_says()
        machine.scheduler_looks()
        machine.serve_bell(workspace, [], [])
        machine.serve_well(0)
        machine.no_invariant_of_the_tables_is_broken()
        assert task.status not in LIVE
    finally:
        machine.teardown()

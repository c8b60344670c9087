"""A short storm by a seed: real processes, real faults, and nothing is lost, stuck, doubled or torn.

With the executor inside the workers, and with two executors as services on two mounts. WVS_CHAOS_SEED and
WVS_CHAOS_SECONDS as for `make chaos`, which is the same for ten minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.base import Base
from tests.chaos.run import Report, run
from tests.chaos.summary import show

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
SEED, SECONDS = os.environ.get("WVS_CHAOS_SEED"), os.environ.get("WVS_CHAOS_SECONDS")
SETTLE_LIMIT = 150.0
LEAST_FAULTS = 6
LEAST_SUCCEEDED = 10


@pytest.fixture(scope="module")
def own_base() -> Iterator[Base]:
    """Not the other tests': its volume will have been full, and its mount dead."""
    base = Base()
    try:
        base.start()
        yield base
    finally:
        base.stop()


def _storm(base: Base, logs: Path, *, seed: int, seconds: float, executors: int = 0) -> Report:
    seed, seconds = int(SEED or seed), float(SECONDS or seconds)
    report = run(base, seed=seed, seconds=seconds, settle_limit=SETTLE_LIMIT, executors=executors, keep=logs)
    show(report)
    assert report.violations == []
    # Else it would prove nothing.
    assert sum(report.faults.values()) >= LEAST_FAULTS
    assert sum(count for end, count in report.tasks.items() if end.endswith("SUCCEEDED")) >= LEAST_SUCCEEDED
    assert report.freezes > 0
    return report


@pytest.mark.rule("I1")
@pytest.mark.rule("I3")
@pytest.mark.rule("I4")
@pytest.mark.rule("I6")
@pytest.mark.rule("I7")
@pytest.mark.rule("I8")
@pytest.mark.rule("I9")
@pytest.mark.rule("I11")
@pytest.mark.rule("I12")
def test_after_the_storm_every_task_has_finished_every_agent_writes_and_no_invariant_is_broken(
    own_base: Base, tmp_path: Path
) -> None:
    _storm(own_base, tmp_path, seed=7, seconds=12)


@pytest.mark.rule("SPEC-7-many")
@pytest.mark.rule("SPEC-7-mount")
@pytest.mark.rule("I5")
@pytest.mark.rule("I7")
@pytest.mark.rule("I9")
@pytest.mark.rule("I12")
def test_so_it_is_with_two_executors_on_two_mounts_that_are_killed_stopped_cut_off_and_mounted_again(
    own_base: Base, tmp_path: Path
) -> None:
    # A seed that begins with the worst: a kill in mid-clone, one taken off the list as it stands still, a mount killed.
    report = _storm(own_base, tmp_path, seed=12, seconds=10, executors=2)
    assert len(report.executed) == 2
    assert all(report.executed.values()), report.executed

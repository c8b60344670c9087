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
SEED = int(os.environ.get("WVS_CHAOS_SEED") or 7)
SECONDS = float(os.environ.get("WVS_CHAOS_SECONDS") or 12)
SETTLE_LIMIT = 150.0
LEAST_FAULTS = 10
LEAST_SUCCEEDED = 15


@pytest.fixture(scope="module")
def own_base() -> Iterator[Base]:
    """Not the other tests': its volume will have been full, and its mount dead."""
    base = Base()
    try:
        base.start()
        yield base
    finally:
        base.stop()


def _assert_calm(report: Report) -> None:
    show(report)
    assert report.violations == []
    # Else it would prove nothing.
    assert sum(report.faults.values()) >= LEAST_FAULTS
    assert sum(count for end, count in report.tasks.items() if end.endswith("SUCCEEDED")) >= LEAST_SUCCEEDED
    assert report.freezes > 0


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
    _assert_calm(run(own_base, seed=SEED, seconds=SECONDS, settle_limit=SETTLE_LIMIT, keep=tmp_path))


@pytest.mark.rule("SPEC-7-many")
@pytest.mark.rule("SPEC-7-mount")
@pytest.mark.rule("I5")
@pytest.mark.rule("I7")
@pytest.mark.rule("I9")
@pytest.mark.rule("I12")
def test_so_it_is_with_two_executors_on_two_mounts_that_are_killed_stopped_cut_off_and_mounted_again(
    own_base: Base, tmp_path: Path
) -> None:
    report = run(own_base, seed=SEED, seconds=SECONDS, settle_limit=SETTLE_LIMIT, executors=2, keep=tmp_path)
    _assert_calm(report)
    assert len(report.executed) == 2
    assert all(report.executed.values()), report.executed

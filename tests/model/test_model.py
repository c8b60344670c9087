"""The whole of the control plane against a model of it, on real PostgreSQL (ENGINE "Invariants, ways to show them").

A failing run prints its steps, the fewest that fail. WVS_MODEL_EXAMPLES says how many examples there are; the few of
the ordinary run are always the same, and more than these are new each time (`--hypothesis-seed` repeats them).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import pytest
import structlog
from django.db import connection
from hypothesis import HealthCheck, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from tasks import settlement
from tests.chaos import history
from tests.model.machine import SEEN, Machine

FEW: Final = 100
EXAMPLES: Final = int(os.environ.get("WVS_MODEL_EXAMPLES", str(FEW)))
STEPS: Final = 30
MUST_BE_SEEN: Final = frozenset(
    {
        "init_workspace SUCCEEDED",
        "init_workspace DEAD",
        "snapshot_create SUCCEEDED",
        "snapshot_create DEAD",
        "snapshot_create CANCELED",
        "snapshot_create RUNNING",
        "snapshot_create FAILED ?",
        "set_current SUCCEEDED",
        "set_current DEAD",
        "set_current FAILED ?",
        "snapshot_drop SUCCEEDED",
        "snapshot_drop RUNNING",
        "snapshot_create: replayed",
        "snapshot_create: WVS_CONFLICT_IDEMPOTENT_MISMATCH",
        "snapshot_create: WVS_GONE",
        "snapshot_drop: WVS_NOT_FOUND",
        "disable: WVS_PRECONDITION_FAILED",
        "cancel: WVS_CONFLICT_LOCKED",
    }
)
"""A run that never comes to these proves little, however green it is."""


@pytest.fixture(autouse=True)
def recorded(transactional_db: None) -> Iterator[None]:
    history.install(connection)
    with structlog.testing.capture_logs():
        yield
    history.remove(connection)


@pytest.fixture(autouse=True)
def time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due later is due in hours, however slow the machine: in the model time passes when it is told to."""
    monkeypatch.setattr(settlement, "timedelta", lambda seconds: timedelta(hours=1 + seconds))


@pytest.mark.rule("SPEC §6")
@pytest.mark.timeout(60 + 10 * EXAMPLES)
def test_the_rows_are_always_as_the_model_says() -> None:
    SEEN.clear()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=EXAMPLES <= FEW,
            database=None,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            verbosity=Verbosity.normal,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print("\n".join(f"{count:6} {what}" for what, count in sorted(SEEN.items())))
    assert set(SEEN) >= MUST_BE_SEEN

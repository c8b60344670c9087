"""The whole of the control plane against a model of it, on real PostgreSQL (ENGINE "Invariants, ways to show them").

A failing run prints its steps, the fewest that fail. WVS_MODEL_EXAMPLES says how many examples there are; the few of
the ordinary run are always the same, and more than these are new each time (`--hypothesis-seed` repeats them).
"""

from __future__ import annotations

import os
from typing import Final

import pytest
from hypothesis import HealthCheck, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import SEEN, Machine

FEW: Final = 40
EXAMPLES: Final = int(os.environ.get("WVS_MODEL_EXAMPLES", str(FEW)))
STEPS: Final = 25


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

"""What the tests of the data model share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def race_pairs() -> int:
    """How many pairs a race has: WVS_RACE_PAIRS, or 200."""
    return int(os.environ.get("WVS_RACE_PAIRS", "200"))

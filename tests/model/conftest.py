"""The history is recorded, and time passes only when it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import structlog
from django.db import connection

from tasks import settlement
from tests.chaos import history


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

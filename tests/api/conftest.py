"""What the tests of the API share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dramatiq import get_broker

from tasks import waiting
from tasks.doorbell import QUEUE
from tests.api.client import Api


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No thread listens and no bell waits after a test."""
    yield
    waiting.listener().close()
    get_broker().flush(QUEUE)

"""One base for all chaos tests of a testing process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.base import Base


@pytest.fixture(scope="session")
def base() -> Iterator[Base]:
    """Servers that may be harmed."""
    base = Base()
    try:
        base.start()
        yield base
    finally:
        base.stop()

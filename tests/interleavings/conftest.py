"""A stage for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interleavings.world import World, on_stage


@pytest.fixture
def world(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with on_stage(monkeypatch) as world:
        yield world

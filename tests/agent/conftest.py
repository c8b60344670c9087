"""A workspace on a plain directory, and what acts on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.contract import StopSignal
from executor.layout import WorkspaceLayout
from tests.agent.scene import HandAgent, make_workspace


@pytest.fixture
def ws(tmp_path: Path) -> WorkspaceLayout:
    return make_workspace(tmp_path)


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    signal = StopSignal()
    yield signal
    signal.close()


@pytest.fixture
def agent(ws: WorkspaceLayout) -> Iterator[HandAgent]:
    hand = HandAgent(ws)
    yield hand
    hand.close()

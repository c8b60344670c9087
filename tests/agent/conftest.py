"""A workspace on a plain directory, and what acts on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.layout import WorkspaceLayout
from tests.agent.scene import HandAgent, Views, make_workspace
from tests.servers import JuiceFSVolume
from wvs_agent import protocol
from wvs_agent.keeper_link import KeeperLink, Kept


@pytest.fixture
def ws(tmp_path: Path) -> WorkspaceLayout:
    return make_workspace(tmp_path)


@pytest.fixture
def agent(ws: WorkspaceLayout) -> Iterator[HandAgent]:
    hand = HandAgent(ws)
    yield hand
    hand.close()


@pytest.fixture
def link(ws: WorkspaceLayout) -> Iterator[KeeperLink]:
    """A keeper that was started, and no command yet."""
    made = KeeperLink(Kept(ws.root, protocol.new_nonce(), 0.1, None, ("sleep", "1000")))
    made.start()
    yield made
    made.dismiss()


@pytest.fixture(scope="module")
def agent_mount(juicefs_volume: JuiceFSVolume) -> Iterator[Path]:
    """A second mount of the volume with JuiceFS's default caches, as an agent's host has it."""
    with juicefs_volume.second_mount(attr_cache="1.0", entry_cache="1.0", dir_entry_cache="1.0") as mount:
        yield mount


@pytest.fixture(params=["one mount", "two mounts"])
def views(request: pytest.FixtureRequest, juicefs_volume: JuiceFSVolume, juicefs_dir: Path) -> Views:
    """A workspace on JuiceFS, the agent on the executor's mount or on another one."""
    if request.param == "one mount":
        return Views(make_workspace(juicefs_dir), juicefs_dir / "demo")
    other: Path = request.getfixturevalue("agent_mount")
    return Views(make_workspace(juicefs_dir), other / juicefs_dir.relative_to(juicefs_volume.mount) / "demo")

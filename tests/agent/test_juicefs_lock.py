"""The agent lock on a mount whose serving process is killed and replaced (SPEC §8; H4)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from executor.contract import StopSignal
from executor.freeze import freeze
from tests.agent.scene import Limits, a_task, agent_lock_is_free, make_workspace, wait_for
from tests.servers import JuiceFSVolume
from wvs_agent import QuiesceWatcher
from wvs_project.stack.juicefs import Mount, mounted

pytestmark = [pytest.mark.fuse, pytest.mark.rule("H4")]


@pytest.fixture
def agents(juicefs_volume: JuiceFSVolume, tmp_path: Path) -> Iterator[Mount]:
    """A mount of the agent's own, which may be killed."""
    with mounted(Mount(juicefs_volume.volume, tmp_path / "agents", tmp_path / "cache")) as mount:
        yield mount


def replace_serving_process(mount: Mount) -> None:
    """Kill it; the process that watches over it starts another, which serves the same mount point."""
    children = Path(f"/proc/{mount.pid}/task/{mount.pid}/children")
    old = [int(pid) for pid in children.read_text().split()]
    for pid in old:
        os.kill(pid, signal.SIGKILL)

    def serves() -> bool:
        with suppress(OSError):
            return set(children.read_text().split()).isdisjoint(map(str, old)) and any(mount.path.iterdir())
        return False

    wait_for(serves, "the mount is served again", limit=60.0)


def forget_locks(volume: JuiceFSVolume) -> None:
    """What happens to them sooner or later: to the mount's next process their owners are unknown."""
    with psycopg.connect(volume.meta_url, password=volume.volume.password, autocommit=True) as database:
        database.execute("DELETE FROM jfs_flock")


def test_an_agent_whose_mount_lost_its_lock_is_attached_again_and_asked_to_stand_still(
    agents: Mount, juicefs_volume: JuiceFSVolume, juicefs_dir: Path, stop: StopSignal
) -> None:
    ws = make_workspace(juicefs_dir)
    root = agents.path / ws.root.relative_to(juicefs_volume.mount)

    def is_taken() -> bool:
        return not agent_lock_is_free(ws.root)

    with QuiesceWatcher(root, lambda: None, lambda _: None):
        replace_serving_process(agents)
        with freeze(ws, a_task(), Limits(), stop) as quiet:
            assert quiet.attached
        forget_locks(juicefs_volume)
        wait_for(is_taken, "the agent has the lock again")
        with freeze(ws, a_task(2), Limits(), stop) as quiet:
            assert quiet.attached
            quiet.check(margin=1.0)
        assert quiet.report.resumed is True
    wait_for(lambda: not is_taken(), "the lock is free")

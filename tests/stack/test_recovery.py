"""Each server starts again over what its killed predecessor left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.servers import JuiceFSVolume
from wvs_project.stack.juicefs import Mount, is_dead, is_mounted, mounted
from wvs_project.stack.orphans import is_over, postgres_processes
from wvs_project.stack.postgres import PostgresServer
from wvs_project.stack.waiting import wait_until


def test_postgres_starts_over_a_pid_file_that_names_somebody_else_by_now(
    workdir: Path, postgres_server: PostgresServer
) -> None:
    def server() -> PostgresServer:
        return PostgresServer(workdir, log=workdir / "log", password="secret", durable=False)

    killed = server()
    killed.start()
    assert killed.pid is not None
    processes = postgres_processes(killed.data)
    os.kill(killed.pid, signal.SIGKILL)
    killed.stop()
    wait_until(lambda: all(map(is_over, processes)), limit=20, what="the end of the killed server")
    pid_file = killed.data / "postmaster.pid"
    stale = pid_file.read_text().split("\n", 1)[1]
    pid_file.write_text(f"{postgres_server.pid}\n{stale}")  # alive, of the same account, and none of ours

    again = server()
    try:
        again.start()
        assert again.health()
    finally:
        again.stop()
    assert postgres_server.health()


@pytest.mark.fuse
def test_a_dead_mount_is_detached_and_mounted_again(juicefs_volume: JuiceFSVolume, workdir: Path) -> None:
    def mount() -> Mount:
        return Mount(juicefs_volume.volume, workdir / "ws", workdir / "cache")

    dead = mount()
    dead.start()
    assert dead.pid is not None
    (dead.path / "kept").write_text("x")
    # Its watcher first: while it asks its own mount something it cannot end, and nor can anybody who asks.
    os.kill(dead.pid, signal.SIGKILL)
    wait_until(dead.has_exited, limit=20, what="the watcher's end")
    os.killpg(dead.pid, signal.SIGKILL)
    wait_until(lambda: is_dead(dead.path), limit=20, what="a dead mount")
    assert not os.path.ismount(dead.path)
    assert is_mounted(dead.path)

    with mounted(mount()) as alive:
        assert (alive.path / "kept").read_text() == "x"
        (alive.path / "kept").unlink()
    dead.stop()
    assert not is_mounted(workdir / "ws")

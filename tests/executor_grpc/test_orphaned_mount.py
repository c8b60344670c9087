"""A mount may outlive the executor that was killed while it started: the next executor ends it (SPEC §7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.executor_grpc.served import Served
from tests.executor_grpc.test_service import is_alive, mount_processes, own_volume
from tests.servers import Servers
from tests.waiting import eventually
from wvs_project.stack.juicefs import is_mounted, juicefs_program, unmount_lazily

# It is told of its parent's death, and its juicefs is not: as one that was just starting.
DEAF = '#!/bin/sh\n"{program}" "$@" &\nwait $!\n'


@pytest.mark.fuse
@pytest.mark.rule("SPEC-7-mount")
def test_a_mount_that_outlived_its_executor_is_ended_by_the_next_and_a_living_ones_is_not(
    servers: Servers, tmp_path: Path
) -> None:
    program = tmp_path / "deaf"
    program.write_text(DEAF.format(program=juicefs_program()))
    program.chmod(0o755)
    path = tmp_path / "ws"
    with own_volume(servers) as volume:
        settings = {"JFS_META_URL": volume.meta_url, "EXECUTOR_JUICEFS": str(program)}
        first, second = (Served(path, tmp_path / name, **settings) for name in ("first", "second"))
        try:
            first.start()
            left = mount_processes(first.process.pid if first.process else None)
            assert len(left) == 2

            second.spawn()
            assert second.wait_ended() == 2
            assert "is mounted already, and alive" in second.log.read_text()
            assert all(map(is_alive, left))
            assert first.is_ready()

            first.kill()
            second.start()
            eventually(lambda: not any(map(is_alive, left)), "what was left is over")
            assert second.is_ready()
        finally:
            first.stop()
            second.stop()
            if is_mounted(path):
                unmount_lazily(path)

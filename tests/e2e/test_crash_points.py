"""At every step of every operation: the worker process is killed there, and the retry ends in one tree and one row.

The engine's steps and the executor's alike (P1-03, G9, G15, RK-07); the same failpoints serve the chaos tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.config import read_config
from executor.failpoints import ENGINE_POINTS, EXECUTOR_POINTS
from executor.local import LocalExecutor
from tasks.models import Op, Task
from tasks.states import Status
from tasks.worker import build_engine
from tests.e2e.world import World
from wvs_project.config import get_config

OF_OP = {
    "init": Op.INIT_WORKSPACE,
    "create": Op.SNAPSHOT_CREATE,
    "set_current": Op.SET_CURRENT,
    "drop": Op.SNAPSHOT_DROP,
}
EXECUTOR_CASES = [(OF_OP[point.partition(".")[0]], point) for point in EXECUTOR_POINTS]
ENGINE_CASES = [(op, point) for point in ENGINE_POINTS for op in (Op.SET_CURRENT, Op.SNAPSHOT_DROP)]


@pytest.fixture
def world(transactional_db: None, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("EXECUTOR_MOUNT_PATH", str(workdir))
    engine = build_engine(get_config(), LocalExecutor(read_config()))
    yield World(workdir, engine)
    engine.close()


@pytest.mark.rule("P1-03")
@pytest.mark.rule("G9")
@pytest.mark.rule("G15")
@pytest.mark.rule("RK-07")
@pytest.mark.parametrize(("op", "point"), [*EXECUTOR_CASES, *ENGINE_CASES])
def test_a_worker_killed_at_any_step_leaves_a_task_that_ends_in_one_tree_and_one_row(
    world: World, op: Op, point: str
) -> None:
    task = world.submit(op)

    world.crash_at(point)
    ended = world.done(task)

    assert ended.state is Status.SUCCEEDED, ended.error
    assert ended.attempt <= 2
    world.assert_whole(ended)
    assert Task.objects.of_workspace(world.wsid).live().count() == 0


def test_every_failpoint_has_its_crash() -> None:
    assert {point for _, point in [*EXECUTOR_CASES, *ENGINE_CASES]} == {*EXECUTOR_POINTS, *ENGINE_POINTS}

"""An agent that holds its lock and never answers: every attempt fails closed, in the end the task is DEAD (SPEC §8)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor import failpoints
from executor.config import read_config
from executor.layout import Layout
from executor.local import LocalExecutor
from tasks.models import AuditEvent, Op, Task
from tasks.states import Status
from tasks.worker import build_engine
from tests.e2e.world import World
from wvs_agent import protocol
from wvs_agent.protocol import AgentLock, ControlState
from wvs_project.config import get_config


@pytest.fixture
def impatient(transactional_db: None, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world whose executor waits a moment for the ack."""
    monkeypatch.setenv("EXECUTOR_MOUNT_PATH", str(workdir))
    config = dataclasses.replace(read_config(), quiesce_timeout=0.2)
    engine = build_engine(get_config(), LocalExecutor(config))
    yield World(workdir, engine)
    engine.close()
    failpoints.disarm_all()


@pytest.mark.parametrize("op", [Op.SNAPSHOT_CREATE, Op.SET_CURRENT])
def test_a_hung_agent_ends_every_attempt_in_quiesce_timeout_and_is_told_to_go_on(impatient: World, op: Op) -> None:
    world = impatient
    task = world.submit(op)
    frozen: list[str] = []
    for point in ("create.frozen", "set_current.frozen"):
        failpoints.arm(point, lambda: frozen.append("frozen"))
    ws = Layout(world.mount).workspace(world.wsid)
    trees, current = set(ws.live_dir.iterdir()), ws.current.readlink()
    hung = AgentLock(ws.agent_lock)
    assert hung.try_acquire()

    ended = world.done(task)

    hung.close()
    assert (ended.state, ended.attempt) == (Status.DEAD, 5)
    assert ended.error is not None
    assert (ended.error["code"], ended.error["reason"]) == ("WVS_EXECUTOR_TIMEOUT", "QUIESCE_TIMEOUT")
    assert not frozen
    control = protocol.read_control(ws.control)
    assert control is not None
    assert control.state is ControlState.REQUEST_RESUME
    assert set(ws.live_dir.iterdir()) == trees
    assert ws.current.readlink() == current
    assert not list(ws.staging_dir.iterdir())
    assert AuditEvent.objects.filter(task_id=task.pk, action="task.dead").exists()
    assert not Task.objects.of_workspace(world.wsid).live().exists()


def test_the_next_task_goes_through_when_the_hung_agent_is_gone(impatient: World) -> None:
    world = impatient
    task = world.submit(Op.SNAPSHOT_CREATE)
    ws = Layout(world.mount).workspace(world.wsid)
    hung = AgentLock(ws.agent_lock)
    assert hung.try_acquire()
    world.engine.serve(world.wsid)
    assert Task.objects.get(pk=task.pk).state is Status.FAILED

    hung.close()

    assert world.done(task).state is Status.SUCCEEDED

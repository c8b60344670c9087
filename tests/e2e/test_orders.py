"""What an operator asks of the scheduler: done within seconds on a real disk, once, with the outcome said (SPEC §9)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from executor import failpoints
from executor.config import read_config
from executor.contract import StopSignal
from executor.layout import Layout
from executor.local import LocalExecutor
from snapshots.chores import RetentionChore
from snapshots.orders import OrdersChore
from tasks.chores import Tools
from tasks.locks import GuardPool
from tasks.models import AuditEvent, Op
from tasks.states import Status
from tasks.worker import build_engine
from tests.agent.scene import HandAgent
from tests.e2e.world import World
from tests.factories import ACTOR, from_now, make_task, new_wsid
from workspaces.models import Order, OrderKind
from workspaces.orders import place_order
from wvs_project.config import get_config
from wvs_project.db import direct_conninfo
from wvs_project.errors import ErrorCode, WvsError

pytestmark = pytest.mark.rule("§9")


@pytest.fixture
def executor(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> LocalExecutor:
    monkeypatch.setenv("EXECUTOR_MOUNT_PATH", str(workdir))
    monkeypatch.setenv("EXECUTOR_QUIESCE_TIMEOUT", "0.5s")
    return LocalExecutor(read_config())


@pytest.fixture
def world(transactional_db: None, workdir: Path, executor: LocalExecutor) -> Iterator[World]:
    engine = build_engine(get_config(), executor)
    world = World(workdir, engine)
    world.done(world.submit(Op.INIT_WORKSPACE))
    yield world
    failpoints.disarm_all()
    engine.close()


@pytest.fixture
def tools(executor: LocalExecutor) -> Iterator[Tools]:
    guards, stop = GuardPool(direct_conninfo(application_name="wvs-orders")), StopSignal()
    yield Tools(executor, guards, stop, get_config())
    stop.close()
    guards.close()


def ordered(world: World, kind: OrderKind) -> Order:
    return place_order(wsid=world.wsid, kind=kind, actor=ACTOR, request_id="req-1")


def test_a_hung_agent_is_detached_in_the_name_of_the_operator(world: World, tools: Tools) -> None:
    agent = HandAgent(Layout(world.mount).workspace(world.wsid), "somebody")
    order = ordered(world, OrderKind.DETACH_AGENT)
    assert OrdersChore().wanted()
    OrdersChore().run(tools)
    agent.close()
    order.refresh_from_db()
    assert order.outcome == {"outcome": "detached", "agent_id": ""}
    assert order.ended_at is not None
    event = AuditEvent.objects.get(action="agent.detach")
    assert (event.actor, event.request_id) == (ACTOR.as_json(), "req-1")
    assert not OrdersChore().wanted()


@pytest.mark.rule("RK-04")
def test_a_workspace_is_swept(world: World, tools: Tools) -> None:
    left = world.root / ".wvs" / "staging" / "task-01890000-0000-7000-8000-000000000001.1"
    left.mkdir()
    order = ordered(world, OrderKind.SWEEP)
    OrdersChore().run(tools)
    order.refresh_from_db()
    assert order.outcome == {"moved": [], "deleted": [left.name], "problems": []}
    assert not left.exists()


def test_asked_twice_it_is_one_order(world: World) -> None:
    first = ordered(world, OrderKind.SWEEP)
    assert ordered(world, OrderKind.SWEEP).pk == first.pk
    assert ordered(world, OrderKind.DETACH_AGENT).pk != first.pk
    first.end(outcome={})
    assert ordered(world, OrderKind.SWEEP).pk != first.pk


def test_while_a_task_runs_it_waits_and_in_the_end_gives_up(world: World, tools: Tools) -> None:
    order = ordered(world, OrderKind.DETACH_AGENT)
    make_task(world.row(), Op.SNAPSHOT_CREATE, status=Status.RUNNING)
    OrdersChore().run(tools)
    order.refresh_from_db()
    assert order.ended_at is None
    Order.objects.filter(pk=order.pk).update(created_at=from_now(-3600))
    OrdersChore().run(tools)
    order.refresh_from_db()
    assert "a task ran in the workspace all the time" in order.error


def test_what_cannot_be_done_is_said_and_holds_up_no_other(world: World, tools: Tools) -> None:
    agent_file = world.root / ".wvs" / "agent.lock"
    agent_file.unlink()
    agent_file.mkdir()
    broken, good = ordered(world, OrderKind.DETACH_AGENT), ordered(world, OrderKind.SWEEP)
    OrdersChore().run(tools)
    broken.refresh_from_db()
    good.refresh_from_db()
    assert broken.error.startswith("UNSAFE_PATH: ")
    assert good.outcome is not None


def test_of_a_workspace_that_is_not_there_nothing_can_be_asked(world: World) -> None:
    with pytest.raises(WvsError) as refused:
        place_order(wsid=new_wsid(), kind=OrderKind.SWEEP, actor=ACTOR)
    assert refused.value.code is ErrorCode.NOT_FOUND


def test_old_orders_are_forgotten(world: World, tools: Tools) -> None:
    order, young = ordered(world, OrderKind.SWEEP), ordered(world, OrderKind.DETACH_AGENT)
    order.end(outcome={})
    young.end(outcome={})
    Order.objects.filter(pk=order.pk).update(ended_at=from_now(-tools.config.task_retention - 60))
    RetentionChore().run(tools)
    assert list(Order.objects.values_list("pk", flat=True)) == [young.pk]

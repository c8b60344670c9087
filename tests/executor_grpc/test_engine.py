"""The task engine with executors as services (SPEC §6, §7): what is lost is retried, and nobody else waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from executor.client import RemoteExecutor
from executor.contract import StopReason
from executor.failpoints import EXECUTOR_POINTS
from executor.routing import executor_of
from tasks import services
from tasks.audit import ANONYMOUS
from tasks.engine import Engine
from tasks.models import Op, Task
from tasks.states import Status
from tasks.worker import build_engine
from tests.chaos.proxy import TcpProxy
from tests.e2e.test_crash_points import OF_OP
from tests.e2e.world import World
from tests.executor.scene import LIMIT
from tests.executor_grpc.served import Served, served
from tests.waiting import InThread, eventually
from wvs_project.config import get_config
from wvs_project.stack.waiting import LOOPBACK

pytestmark = pytest.mark.rule("SPEC-7-many")
COPY = {"EXECUTOR_CLONE_DRIVER": "copy"}
MakeEngine = Callable[..., Engine]


@dataclass
class Fleet:
    """Executors on one volume, the ways to them, and one worker's engine."""

    mount: Path
    executors: list[Served]
    ways: list[TcpProxy]
    make_engine: MakeEngine

    @property
    def addrs(self) -> list[str]:
        return [f"{LOOPBACK}:{way.port}" for way in self.ways]

    def world(self, number: int, engine: Engine) -> World:
        """A workspace of that executor's."""
        while executor_of((world := World(self.mount, engine)).wsid, self.addrs) != self.addrs[number]:
            pass
        return world


@pytest.fixture
def make_engine(transactional_db: None) -> Iterator[MakeEngine]:
    made: list[Engine] = []

    def make(*addrs: str) -> Engine:
        made.append(build_engine(get_config(), RemoteExecutor(addrs)))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def fleet(workdir: Path, tmp_path: Path, make_engine: MakeEngine) -> Iterator[Fleet]:
    """Two of them."""
    with ExitStack() as stack:
        executors, ways = [], []
        for number in range(2):
            executors.append(stack.enter_context(served(workdir, tmp_path / f"log-{number}", **COPY)))
            ways.append(TcpProxy(executors[-1].port))
            ways[-1].start()
            stack.callback(ways[-1].stop)
        yield Fleet(workdir, executors, ways, make_engine)


def go_on(fleet: Fleet, tmp_path: Path, number: int) -> None:
    """The executor starts again, with nothing armed."""
    fleet.executors[number].settings.pop("WVS_FAILPOINTS", None)
    fleet.executors[number].start()


def hold_at(fleet: Fleet, number: int, point: str, until: Path) -> None:
    """That executor's runs wait there."""
    executor = fleet.executors[number]
    executor.stop()
    executor.settings["WVS_FAILPOINTS"] = f"{point}=pause:{until}"
    executor.start()


def running(world: World, task: Task) -> InThread[None]:
    """The engine serves the workspace, and its clone is there and held."""
    thread = InThread(lambda: world.engine.serve(world.wsid))
    eventually(lambda: list((world.root / ".wvs" / "staging").rglob("work/file")), "the clone is held")
    return thread


def row(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


def assert_lost(task: Task) -> None:
    """It waits for its retry, and the first thing to be asked is what became of it."""
    lost = row(task)
    assert (lost.state, lost.outcome_unknown) == (Status.FAILED, True)
    assert lost.error is not None
    assert (lost.error["code"], lost.error["reason"]) == ("WVS_EXECUTOR_ERROR", "UNAVAILABLE")


@pytest.mark.rule("P1-03")
@pytest.mark.rule("G15")
@pytest.mark.parametrize("point", EXECUTOR_POINTS)
def test_an_executor_killed_at_any_step_leaves_a_task_that_ends_in_one_tree_and_one_row(
    workdir: Path, tmp_path: Path, make_engine: MakeEngine, point: str
) -> None:
    op = OF_OP[point.partition(".")[0]]
    with served(workdir, tmp_path / "log", **COPY) as executor:
        world = World(workdir, make_engine(executor.addr))
        task = world.submit(op)
        executor.stop()
        executor.settings["WVS_FAILPOINTS"] = f"{point}=kill"
        executor.start()
        world.engine.serve(world.wsid)
        assert executor.wait_ended() != 0, f"it never came to {point}"
        if op is not Op.SNAPSHOT_DROP:
            assert_lost(task)

        executor.settings.pop("WVS_FAILPOINTS")
        executor.start()
        ended = end_of(world, task)

        assert ended.state is Status.SUCCEEDED, ended.error
        assert ended.attempt <= 2
        if op is not Op.SNAPSHOT_DROP:  # its directory is the sweeper's then
            world.assert_whole(ended)


def ended_of(world: World, task: Task) -> Task | None:
    """The row once it is finished; its waiting for a retry is cut short."""
    try:
        return world.done(task)
    except AssertionError:
        return None


def end_of(world: World, task: Task) -> Task:
    """The row, which is finished sooner or later."""
    ended = eventually(lambda: ended_of(world, task), "the end")
    assert ended is not None
    return ended


def test_an_executor_killed_in_mid_clone_delays_its_own_workspaces_only(fleet: Fleet, tmp_path: Path) -> None:
    engine = fleet.make_engine(*fleet.addrs)
    mine, other = fleet.world(0, engine), fleet.world(1, engine)
    task, theirs = mine.submit(Op.SET_CURRENT), other.submit(Op.SET_CURRENT)
    hold_at(fleet, 0, "set_current.copied", tmp_path / "never")
    thread = running(mine, task)

    fleet.executors[0].kill()
    thread.result(LIMIT)

    assert_lost(task)
    assert other.done(theirs).state is Status.SUCCEEDED
    assert ended_of(mine, task) is None, "its executor is dead"
    assert row(task).attempt == 1, "asking costs no attempt"
    go_on(fleet, tmp_path, 0)
    ended = end_of(mine, task)
    assert (ended.state, ended.attempt) == (Status.SUCCEEDED, 2)
    mine.assert_whole(ended)


def test_the_workspaces_of_a_dead_executor_move_when_the_list_changes(fleet: Fleet, tmp_path: Path) -> None:
    engine = fleet.make_engine(*fleet.addrs)
    mine = fleet.world(0, engine)
    task = mine.submit(Op.SET_CURRENT)
    hold_at(fleet, 0, "set_current.copied", tmp_path / "never")
    thread = running(mine, task)
    fleet.executors[0].kill()
    thread.result(LIMIT)

    mine.engine = fleet.make_engine(fleet.addrs[1])
    ended = mine.done(task)

    assert ended.state is Status.SUCCEEDED
    mine.assert_whole(ended)


@pytest.mark.parametrize("how", ["cut", "refuse"])
def test_a_network_cut_in_mid_clone_ends_in_one_tree(fleet: Fleet, tmp_path: Path, how: str) -> None:
    engine = fleet.make_engine(*fleet.addrs)
    mine, other = fleet.world(0, engine), fleet.world(1, engine)
    task, theirs = mine.submit(Op.SET_CURRENT), other.submit(Op.SET_CURRENT)
    go = tmp_path / "go"
    hold_at(fleet, 0, "set_current.copied", go)
    thread = running(mine, task)

    getattr(fleet.ways[0], how)()
    thread.result(LIMIT)

    assert_lost(task)
    assert other.done(theirs).state is Status.SUCCEEDED
    go.touch()
    fleet.ways[0].heal()
    ended = end_of(mine, task)
    assert (ended.state, ended.attempt) == (Status.SUCCEEDED, 2)
    mine.assert_whole(ended)


@pytest.mark.rule("G12")
def test_a_task_whose_executor_is_shut_down_is_handed_back(
    workdir: Path, tmp_path: Path, make_engine: MakeEngine
) -> None:
    with served(workdir, tmp_path / "log", **COPY, EXECUTOR_SHUTDOWN_TIMEOUT="250ms") as executor:
        world = World(workdir, make_engine(executor.addr))
        task = world.submit(Op.SET_CURRENT)
        go = tmp_path / "go"
        executor.stop()
        executor.settings["WVS_FAILPOINTS"] = f"set_current.copied=pause:{go}"
        executor.start()
        thread = running(world, task)
        executor.ask_to_stop()
        eventually(lambda: bool(executor.lines("executor.stops_runs")), "its grace is over")
        go.touch()
        thread.result(LIMIT)
        executor.wait_ended()

        handed_back = row(task)  # and tried again at once, when nobody was there any more
        assert (handed_back.state, handed_back.attempt, handed_back.outcome_unknown) == (Status.FAILED, 0, False)
        executor.settings.pop("WVS_FAILPOINTS")
        executor.start()
        ended = end_of(world, task)
        assert (ended.state, ended.attempt) == (Status.SUCCEEDED, 1)
        world.assert_whole(ended)


@pytest.mark.rule("G12")
def test_an_executor_that_is_away_for_long_costs_its_tasks_no_attempt(fleet: Fleet, tmp_path: Path) -> None:
    engine = fleet.make_engine(*fleet.addrs)
    mine, other = fleet.world(0, engine), fleet.world(1, engine)
    task, theirs = mine.submit(Op.SNAPSHOT_CREATE), other.submit(Op.SNAPSHOT_CREATE)
    fleet.executors[0].kill()

    assert ended_of(mine, task) is None, "its executor is dead"
    waiting = row(task)
    assert (waiting.state, waiting.attempt, waiting.outcome_unknown) == (Status.FAILED, 0, False)
    assert other.done(theirs).state is Status.SUCCEEDED
    go_on(fleet, tmp_path, 0)
    ended = end_of(mine, task)
    assert (ended.state, ended.attempt) == (Status.SUCCEEDED, 1)


@pytest.mark.rule("G13")
@pytest.mark.rule("G14")
@pytest.mark.parametrize("why", [StopReason.CANCELED, StopReason.TIMED_OUT])
def test_a_cancel_and_a_time_out_reach_the_executor(fleet: Fleet, tmp_path: Path, why: StopReason) -> None:
    engine = fleet.make_engine(*fleet.addrs)
    mine = fleet.world(0, engine)
    task = mine.submit(Op.SET_CURRENT)
    go = tmp_path / "go"
    hold_at(fleet, 0, "set_current.copied", go)
    if why is StopReason.TIMED_OUT:
        Task.objects.filter(pk=task.pk).update(timeout_seconds=2)
    thread = running(mine, task)
    if why is StopReason.CANCELED:
        services.cancel_task(task_id=task.task_id, actor=ANONYMOUS, request_id="req-of-a-test")

    eventually(lambda: bool(fleet.executors[0].lines("caller.gone")), "the executor has heard of it")
    go.touch()
    thread.result(LIMIT)

    ended = row(task)
    if why is StopReason.CANCELED:
        assert ended.state is Status.CANCELED
    else:
        assert ended.state is Status.FAILED
        assert ended.error is not None
        assert ended.error["reason"] == "TIMED_OUT"
        assert not ended.outcome_unknown
    assert sorted(path.name for path in (mine.root / "live").iterdir()) == ["initial"]
    assert list((mine.root / ".wvs" / "staging").iterdir()) == []

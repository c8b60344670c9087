"""The sweep on a real disk with real rows: what nobody needs goes, and nothing else ever (SPEC §6, §7; RK-04, G20)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from executor import failpoints
from executor.config import read_config
from executor.contract import StopSignal
from executor.local import LocalExecutor
from snapshots import services as snapshots
from snapshots.chores import DriftChore, SweepChore
from snapshots.drift import DriftKind
from snapshots.metrics import DRIFT
from snapshots.models import Snapshot
from snapshots.purge import Purge
from snapshots.sweep import Sweeper, SweepReport
from tasks.audit import ANONYMOUS, Actor
from tasks.chores import Tools
from tasks.locks import GuardPool
from tasks.models import AuditEvent, Op, Task
from tasks.states import Status
from tasks.worker import build_engine
from tests.e2e.world import World
from tests.factories import from_now, make_task, new_token
from workspaces.models import Workspace
from workspaces.services import disable_workspace, enable_workspace, retry_init
from workspaces.states import WorkspaceState
from wvs_agent import protocol
from wvs_project.config import get_config
from wvs_project.db import direct_conninfo

pytestmark = [pytest.mark.rule("RK-04"), pytest.mark.rule("G20")]
SWEEPER = Actor("test", "sweeper")
NO_GRACE = timedelta(0)


class Died(BaseException):
    """Nothing catches it: as if the process had ended there."""


@pytest.fixture
def executor(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> LocalExecutor:
    monkeypatch.setenv("EXECUTOR_MOUNT_PATH", str(workdir))
    return LocalExecutor(read_config())


@pytest.fixture
def world(transactional_db: None, workdir: Path, executor: LocalExecutor) -> Iterator[World]:
    engine = build_engine(get_config(), executor)
    yield World(workdir, engine)
    failpoints.disarm_all()
    engine.close()


@pytest.fixture
def tools(executor: LocalExecutor) -> Iterator[Tools]:
    guards, stop = GuardPool(direct_conninfo(application_name="wvs-sweep")), StopSignal()
    yield Tools(executor, guards, stop, get_config())
    guards.close()
    stop.close()


Sweep = Callable[..., SweepReport]


@pytest.fixture
def sweep(world: World, tools: Tools) -> Sweep:
    """Sweeps the world's workspace."""

    def run(grace: timedelta = NO_GRACE, *, dry_run: bool = False) -> SweepReport:
        return Sweeper(tools, grace, SWEEPER, dry_run=dry_run).sweep(world.wsid)

    return run


def _trees(world: World) -> set[str]:
    return {path.name for path in (world.root / "live").iterdir()}


def _staging(world: World) -> list[str]:
    return [path.name for path in (world.root / ".wvs/staging").iterdir()]


def test_a_superseded_tree_goes_after_its_grace_and_not_before(world: World, sweep: Sweep) -> None:
    world.done(world.submit(Op.SET_CURRENT))
    assert sweep(timedelta(hours=1)).moved == ()
    assert "initial" in _trees(world)
    assert sweep().moved == ("live/initial",)
    assert _trees(world) == {world.row().current_live_id}
    assert _staging(world) == []
    assert (world.tree / "work/file").read_text() == "the agent's"


def test_a_tree_that_somebody_went_on_writing_to_stays_whole(world: World, sweep: Sweep) -> None:
    task = world.submit(Op.SET_CURRENT)
    with (world.tree / "work/file").open("a") as held:
        world.done(task)
        held.write(", and more")
    report = sweep()
    assert report.moved == ()
    assert [v.drift for v in report.verdicts if v.name == "initial"] == [DriftKind.STALE_WRITER]
    assert (world.root / "live/initial/work/file").read_text() == "wrecked, and more"


def test_the_schedulers_chore_sweeps_all_and_counts_what_stays(world: World, tools: Tools) -> None:
    task = world.submit(Op.SET_CURRENT)
    with (world.tree / "work/file").open("a") as held:
        world.done(task)
        held.write(", and more")
    counter = DRIFT.labels(kind=DriftKind.STALE_WRITER.value)
    before = counter._value.get()
    SweepChore(grace=NO_GRACE).run(tools)
    assert counter._value.get() == before + 1


def test_the_schedulers_chore_counts_what_differs_between_disk_and_rows(world: World, tools: Tools) -> None:
    world.done(world.submit(Op.SNAPSHOT_CREATE))
    counter = DRIFT.labels(kind=DriftKind.MISSING_ROW.value)
    DriftChore().run(tools)
    before = counter._value.get()
    Snapshot.objects.of_workspace(world.wsid).delete()
    DriftChore().run(tools)
    assert counter._value.get() == before + 1
    assert not Snapshot.objects.of_workspace(world.wsid).exists(), "it repairs nothing by itself"


def test_what_a_crashed_attempt_left_in_staging_goes(world: World, sweep: Sweep) -> None:
    task = world.submit(Op.SNAPSHOT_CREATE)
    world.crash_at("create.cloned")
    assert _staging(world) != []
    world.engine.serve(world.wsid)  # rescued: the row is FAILED, and waits for its probe
    assert Task.objects.get(pk=task.pk).state is Status.FAILED
    sweep()
    assert _staging(world) == []
    assert world.done(task).state is Status.SUCCEEDED
    world.assert_whole(task)


def test_while_a_lost_task_waits_for_its_rescue_nothing_is_touched(world: World, sweep: Sweep) -> None:
    world.submit(Op.SNAPSHOT_CREATE)
    world.crash_at("create.cloned")
    left = _staging(world)
    assert sweep().busy
    assert _staging(world) == left


def test_the_freeze_that_a_dead_executor_asked_for_is_taken_back(world: World, sweep: Sweep) -> None:
    world.done(world.submit(Op.INIT_WORKSPACE))
    control = world.root / ".wvs/control.json"
    said = json.loads(control.read_text())
    control.write_text(json.dumps(said | {"state": "REQUEST_FREEZE", "nonce": protocol.new_nonce()}))
    assert sweep().moved == ("control.json",)
    assert json.loads(control.read_text())["state"] == "REQUEST_RESUME"


def test_the_directory_of_a_dropped_snapshot_that_could_not_be_deleted_goes_later(world: World, sweep: Sweep) -> None:
    drop = world.submit(Op.SNAPSHOT_DROP)
    snapshot_id = str(drop.params["snapshot_id"])
    world.done(drop)
    (world.root / "snapshots" / snapshot_id / "tree").mkdir(parents=True)
    assert sweep().moved == (f"snapshots/{snapshot_id}",)
    assert not list((world.root / "snapshots").iterdir())


def test_a_tree_that_was_published_and_never_switched_to_goes_when_its_task_is_dead(world: World, sweep: Sweep) -> None:
    task = world.submit(Op.SET_CURRENT)
    world.crash_at("set_current.published")
    assert len(_trees(world)) == 2
    world.engine.serve(world.wsid)
    sweep()
    assert len(_trees(world)) == 2, "its task is live"
    Task.objects.filter(pk=task.pk).update(outcome_unknown=False)
    Task.objects.filter(pk=task.pk).update(status=Status.CANCELED, ended_at=from_now(0))
    sweep()
    assert _trees(world) == {"initial"}


def test_a_dry_run_says_all_and_does_nothing(world: World, sweep: Sweep) -> None:
    world.done(world.submit(Op.SET_CURRENT))
    report = sweep(dry_run=True)
    said = {verdict.name: (verdict.goes, verdict.why) for verdict in report.verdicts}
    assert said["initial"][0]
    assert said[str(world.row().current_live_id)] == (False, "current")
    assert "initial" in _trees(world)
    assert not AuditEvent.objects.filter(action__startswith="sweep.").exists()


def test_what_goes_is_in_the_audit_trail_with_its_reason(world: World, sweep: Sweep) -> None:
    world.done(world.submit(Op.SET_CURRENT))
    sweep()
    event = AuditEvent.objects.get(action="sweep.leftovers")
    assert (event.wsid, event.actor) == (world.wsid, SWEEPER.as_json())
    assert "switched away from" in event.payload["after"]["goes"]["live/initial"]


def test_a_sweep_that_dies_after_its_rename_is_finished_by_the_next(world: World, sweep: Sweep) -> None:
    world.done(world.submit(Op.SET_CURRENT))

    def die() -> None:
        raise Died

    failpoints.arm("sweep.moved", die)
    with pytest.raises(Died):
        sweep()
    failpoints.disarm_all()
    assert "initial" not in _trees(world)
    assert _staging(world) != []
    sweep()
    assert _staging(world) == []


def test_tasks_go_on_after_a_sweep_as_if_nothing_had_been(world: World, sweep: Sweep) -> None:
    world.done(world.submit(Op.SET_CURRENT))
    sweep()
    snapshot_id = str(world.row().current_snapshot_id)
    again = snapshots.set_current(
        wsid=world.wsid, snapshot_id=snapshot_id, fresh=True, token=new_token(), actor=ANONYMOUS
    ).task
    assert world.done(again).state is Status.SUCCEEDED


def test_a_workspace_that_no_row_knows_is_left_alone(world: World, sweep: Sweep) -> None:
    world.done(world.submit(Op.SET_CURRENT))
    known = world.wsid
    world.root.rename(world.mount / "nobody-knows")
    world.wsid = "nobody-knows"
    assert sweep().moved == ()
    assert _trees(world) >= {"initial"}
    world.wsid = known


def test_the_sweep_of_many_goes_on_past_one_that_is_broken(world: World, tools: Tools) -> None:
    world.done(world.submit(Op.SET_CURRENT))
    broken = world.mount / "aaa-broken" / ".wvs"
    broken.mkdir(parents=True)
    (broken / "staging").symlink_to("/etc")
    reports = {report.wsid: report for report in Sweeper(tools, NO_GRACE, SWEEPER).sweep_all()}
    assert reports[world.wsid].moved == ("live/initial",)
    assert (broken / "staging").is_symlink()


def _disabled(world: World, *, for_seconds: float) -> Workspace:
    world.done(world.submit(Op.SET_CURRENT))
    disable_workspace(wsid=world.wsid, actor=ANONYMOUS, request_id="req-1")
    Workspace.objects.filter(pk=world.wsid).update(updated_at=from_now(-for_seconds))
    return world.row()


def _purge(tools: Tools, world: World, *, dry_run: bool = False) -> list[SweepReport]:
    return list(Purge(tools, disabled_for=3600, actor=SWEEPER, dry_run=dry_run).purge_all([world.wsid]))


def test_the_trees_of_a_long_disabled_workspace_go_when_asked_for(world: World, tools: Tools) -> None:
    _disabled(world, for_seconds=7200)
    (report,) = _purge(tools, world)
    assert report.problems == ()
    assert {path.name for path in world.root.iterdir()} == {".wvs"}
    assert _staging(world) == []
    row = world.row()
    assert (row.state, row.current_path, row.current_snapshot_id) == (WorkspaceState.DISABLED, None, None)
    assert not Snapshot.objects.of_workspace(world.wsid).kept().exists()
    assert AuditEvent.objects.filter(action="sweep.purge_disabled", wsid=world.wsid).count() == 1
    assert _purge(tools, world) == []


def test_one_that_is_not_disabled_for_long_keeps_all(world: World, tools: Tools) -> None:
    _disabled(world, for_seconds=60)
    assert _purge(tools, world) == []
    assert world.tree.is_dir()


def test_a_dry_run_of_a_purge_keeps_all(world: World, tools: Tools) -> None:
    before = _disabled(world, for_seconds=7200)
    assert _purge(tools, world, dry_run=True)[0].verdicts
    assert world.row().current_path == before.current_path
    assert world.tree.is_dir()


@pytest.mark.parametrize("moved_before_the_crash", [1, 2, 3])
def test_a_purge_that_died_half_way_is_finished_by_the_next(
    world: World, tools: Tools, moved_before_the_crash: int
) -> None:
    _disabled(world, for_seconds=7200)
    hits: list[int] = []

    def die() -> None:
        hits.append(1)
        if len(hits) == moved_before_the_crash:
            raise Died

    failpoints.arm("sweep.moved", die)
    with pytest.raises(Died):
        _purge(tools, world)
    failpoints.disarm_all()
    _purge(tools, world)
    list(Sweeper(tools, NO_GRACE, SWEEPER).sweep_all([world.wsid]))
    assert {path.name for path in world.root.iterdir()} == {".wvs"}
    assert _staging(world) == []


@pytest.mark.rule("H11")
def test_after_a_purge_it_can_be_enabled_and_initialised_anew(world: World, tools: Tools) -> None:
    _disabled(world, for_seconds=7200)
    _purge(tools, world)
    enabled = enable_workspace(wsid=world.wsid, actor=ANONYMOUS)
    assert enabled.state == WorkspaceState.INIT_FAILED
    task = retry_init(wsid=world.wsid, token=new_token(), actor=ANONYMOUS).task
    assert world.done(task).state is Status.SUCCEEDED
    assert world.row().state == WorkspaceState.ACTIVE
    assert list(world.tree.iterdir()) == []


def test_no_sweep_holds_a_lock_while_it_deletes(world: World, tools: Tools) -> None:
    world.done(world.submit(Op.SET_CURRENT))
    held: list[int] = []

    def look() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            held.append(int(cursor.fetchone()[0]))

    failpoints.arm("purge.deleted", look)
    Sweeper(tools, NO_GRACE, SWEEPER).sweep(world.wsid)
    assert held == [0]


def test_a_task_that_came_during_the_sweep_is_rung_for(
    world: World, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.done(world.submit(Op.SET_CURRENT))
    rung: list[str] = []

    def ring(wsid: str) -> bool:
        rung.append(wsid)
        return True

    monkeypatch.setattr("tasks.doorbell.ring", ring)

    def accept() -> None:
        make_task(world.row())

    failpoints.arm("sweep.moved", accept)
    Sweeper(tools, NO_GRACE, SWEEPER).sweep(world.wsid)
    assert rung == [world.wsid]

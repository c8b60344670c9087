"""`manage.py wvs_index`: disk against rows, on real rows and a volume in memory, and on a real disk (SPEC §9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from executor.config import read_config
from executor.contract import ExecutorFault, FaultReason, live_id_for
from executor.local import LocalExecutor
from snapshots.drift import DriftKind
from snapshots.metrics import DRIFT
from snapshots.models import Snapshot
from tasks.locks import GuardPool
from tasks.models import AuditEvent, Op, Task
from tasks.states import Status
from tasks.worker import build_engine
from tests.e2e.world import World
from tests.factories import make_snapshot, make_task, make_workspace, new_wsid
from tests.fakes_upkeep import MADE_AT, FakeUpkeep, empty, facts
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.config import get_config
from wvs_project.db import direct_conninfo
from wvs_project.ids import new_snapshot_id, new_task_id

pytestmark = [pytest.mark.rule("SPEC §9"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def volume(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> FakeUpkeep:
    """The execution plane that the command is connected to."""
    fake = FakeUpkeep()
    monkeypatch.setattr("tasks.management.operator.connect_upkeep", lambda addrs: fake)
    return fake


def index(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON."""
    code, said = index_text("--json", *arguments)
    return code, json.loads(said)


def index_text(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("wvs_index", *arguments, stdout=out, stderr=StringIO(), no_color=True)
    except CommandError as error:
        if error.returncode != 1:
            raise
        return 1, out.getvalue()
    return 0, out.getvalue()


def kinds(answer: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(finding["kind"], finding["repaired"]) for finding in answer["findings"]]


def repaired_to_nothing(*arguments: str) -> dict[str, Any]:
    """`--fix` repairs all there is, in one audited step, and a second run finds nothing to do."""
    assert index(*arguments)[0] == 1
    assert not AuditEvent.objects.filter(action="index.fix").exists(), "a report writes nothing"
    code, answer = index("--fix", *arguments)
    assert code == 0, answer
    assert all(is_repaired for _, is_repaired in kinds(answer))
    assert AuditEvent.objects.filter(action="index.fix").count() == 1
    assert index("--fix", *arguments) == (0, answer | {"findings": []})
    assert AuditEvent.objects.filter(action="index.fix").count() == 1
    return answer


def test_what_agrees_is_exit_code_0(volume: FakeUpkeep) -> None:
    volume.has_snapshot(make_snapshot(volume.has(make_workspace())))
    code, answer = index()
    assert (code, answer["workspaces"], answer["findings"]) == (0, 1, [])


# — each repair —


def test_a_snapshot_without_a_row_gets_one_from_its_descriptor(volume: FakeUpkeep) -> None:
    workspace = volume.has(make_workspace())
    made = facts(message="an agent's words\0", entries=5)
    snapshot_id = new_snapshot_id()
    volume.puts(workspace.wsid, snapshot_id, made)
    answer = repaired_to_nothing()
    assert kinds(answer) == [("missing_row", True)]
    row = Snapshot.objects.kept().get(pk=snapshot_id)
    assert (row.workspace_id, row.fs_path, row.created_by) == (
        workspace.wsid,
        workspace.snapshot_path(snapshot_id),
        made.task_id,
    )
    assert (row.entries, row.bytes, row.manifest_digest) == (5, made.bytes, made.manifest_digest)
    assert row.created_at == datetime.fromisoformat(MADE_AT)
    assert row.message == "an agent's words\\0"
    event = AuditEvent.objects.get(action="index.fix")
    assert event.wsid == workspace.wsid
    assert event.actor["type"] == "command"
    assert event.payload["before"] == {snapshot_id: None}
    assert event.payload["after"][snapshot_id]["created_by"] == made.task_id


@pytest.mark.parametrize("status", [Status.CANCELED, Status.DEAD])
def test_a_canceled_tasks_snapshot_is_inserted_only_when_told_to_adopt(volume: FakeUpkeep, status: Status) -> None:
    workspace = volume.has(make_workspace())
    task = make_task(workspace, status=status)
    volume.puts(workspace.wsid, str(task.snapshot_id), facts(task.task_id))
    code, answer = index("--fix")
    assert (code, kinds(answer)) == (1, [("missing_row", False)])
    assert not Snapshot.objects.exists()
    code, answer = index("--fix", "--adopt")
    assert (code, kinds(answer)) == (0, [("missing_row", True)])
    assert Snapshot.objects.kept().filter(pk=task.snapshot_id, created_by=task.task_id).exists()
    assert index()[0] == 0


@pytest.mark.parametrize("status", [Status.PENDING, Status.FAILED])
def test_a_live_tasks_snapshot_is_never_inserted(volume: FakeUpkeep, status: Status) -> None:
    workspace = volume.has(make_workspace())
    task = make_task(workspace, status=status)
    volume.puts(workspace.wsid, str(task.snapshot_id), facts(task.task_id))
    assert index("--fix", "--adopt")[0] == 0
    assert not Snapshot.objects.exists()


def test_a_row_without_its_directory_is_marked_and_unmarked_when_it_is_back(volume: FakeUpkeep) -> None:
    snapshot = make_snapshot(volume.has(make_workspace()))
    answer = repaired_to_nothing()
    assert kinds(answer) == [("orphaned_row", True)]
    marked = Snapshot.objects.get(pk=snapshot.pk).orphaned_at
    assert marked is not None
    volume.has_snapshot(snapshot)
    code, answer = index("--fix")
    assert (code, kinds(answer)) == (0, [("orphan_found", True)])
    assert Snapshot.objects.get(pk=snapshot.pk).orphaned_at is None
    last = AuditEvent.objects.filter(action="index.fix").latest("event_id")
    assert last.payload["before"] == {snapshot.pk: {"orphaned": True}}
    assert last.payload["after"] == {snapshot.pk: {"orphaned": False}}


def _switched(volume: FakeUpkeep, workspace: Workspace, task_id: str) -> str:
    """The disk after a switch of which the row knows nothing; the new path."""
    volume.has(workspace)
    live_id = live_id_for(task_id)
    volume.changes(workspace.wsid, current=f"live/{live_id}", live=("initial", live_id))
    return workspace.live_path(live_id)


@pytest.mark.rule("P1-01")
def test_the_pointer_follows_the_symlink_with_path_and_snapshot(volume: FakeUpkeep) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    task = make_task(workspace, Op.SET_CURRENT, snapshot=snapshot, status=Status.DEAD)
    path = _switched(volume, workspace, task.task_id)
    volume.has_snapshot(snapshot)
    answer = repaired_to_nothing()
    assert kinds(answer) == [("pointer", True)]
    row = Workspace.objects.get(pk=workspace.wsid)
    assert (row.current_path, row.current_snapshot_id) == (path, snapshot.pk)
    event = AuditEvent.objects.get(action="index.fix")
    assert event.payload["before"]["current"] == {
        "current_path": workspace.current_path,
        "current_snapshot_id": None,
    }
    assert event.payload["after"]["current"] == {"current_path": path, "current_snapshot_id": snapshot.pk}


def test_a_pointer_whose_task_is_forgotten_names_no_snapshot(volume: FakeUpkeep) -> None:
    workspace = make_workspace()
    before = make_snapshot(workspace)
    workspace.point_at(snapshot_id=before.pk, path=str(workspace.current_path))
    path = _switched(volume, workspace, new_task_id())
    volume.has_snapshot(before)
    repaired_to_nothing()
    row = Workspace.objects.get(pk=workspace.wsid)
    assert (row.current_path, row.current_snapshot_id) == (path, None)


def test_a_pointer_never_names_a_dropped_snapshot(volume: FakeUpkeep) -> None:
    workspace = make_workspace()
    dropped = make_snapshot(workspace, dropped=True)
    task = make_task(workspace, Op.SET_CURRENT, snapshot=dropped, status=Status.SUCCEEDED)
    path = _switched(volume, workspace, task.task_id)
    repaired_to_nothing()
    row = Workspace.objects.get(pk=workspace.wsid)
    assert (row.current_path, row.current_snapshot_id) == (path, None)


def test_a_pointer_may_name_a_snapshot_whose_row_was_missing_too(volume: FakeUpkeep) -> None:
    workspace = make_workspace()
    snapshot_id = new_snapshot_id()
    task = make_task(workspace, Op.SET_CURRENT, snapshot=snapshot_id, status=Status.SUCCEEDED)
    _switched(volume, workspace, task.task_id)
    volume.puts(workspace.wsid, snapshot_id, facts())
    answer = repaired_to_nothing()
    assert kinds(answer) == [("pointer", True), ("missing_row", True)]
    assert Workspace.objects.get(pk=workspace.wsid).current_snapshot_id == snapshot_id


def test_a_switch_that_waits_for_its_probe_is_no_drift(volume: FakeUpkeep) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    task = make_task(workspace, Op.SET_CURRENT, snapshot=snapshot, status=Status.FAILED, outcome_unknown=True)
    _switched(volume, workspace, task.task_id)
    volume.has_snapshot(snapshot)
    assert index("--fix")[0] == 0
    assert Workspace.objects.get(pk=workspace.wsid).current_path == workspace.current_path


# — what is only reported —


def _missing_current(volume: FakeUpkeep) -> None:
    volume.changes(volume.has(make_workspace()).wsid, current=None)


def _missing_workspace(volume: FakeUpkeep) -> None:
    volume.has(make_workspace())
    make_workspace()


def _unknown_workspace(volume: FakeUpkeep) -> None:
    wsid = new_wsid()
    volume.disk[wsid] = empty(wsid)


def _strange(volume: FakeUpkeep) -> None:
    volume.changes(volume.has(make_workspace()).wsid, strange=("notes",))


def _invalid(volume: FakeUpkeep) -> None:
    volume.puts(volume.has(make_workspace()).wsid, new_snapshot_id(), None)


def _mismatch(volume: FakeUpkeep) -> None:
    volume.has_snapshot(make_snapshot(volume.has(make_workspace())), bytes=7)


def _undeleted(volume: FakeUpkeep) -> None:
    volume.has_snapshot(make_snapshot(volume.has(make_workspace()), dropped=True))


@pytest.mark.parametrize(
    ("kind", "arrange"),
    [
        (DriftKind.MISSING_CURRENT, _missing_current),
        (DriftKind.MISSING_WORKSPACE, _missing_workspace),
        (DriftKind.UNKNOWN_WORKSPACE, _unknown_workspace),
        (DriftKind.STRANGE, _strange),
        (DriftKind.INVALID_SNAPSHOT, _invalid),
        (DriftKind.MISMATCH, _mismatch),
        (DriftKind.UNDELETED_DIRECTORY, _undeleted),
    ],
)
def test_what_only_a_person_or_the_sweep_can_settle_is_reported_and_counted(
    volume: FakeUpkeep, kind: DriftKind, arrange: Any
) -> None:
    arrange(volume)
    counted = DRIFT.labels(kind=kind.value)
    before = counted._value.get()
    code, answer = index("--fix", "--adopt")
    assert (code, kinds(answer)) == (1, [(kind.value, False)])
    assert answer["findings"][0]["repair"] is None
    assert counted._value.get() == before + 1
    assert not AuditEvent.objects.exists()


def test_every_kind_is_exported_before_it_was_ever_found() -> None:
    exported = {sample.labels["kind"] for metric in DRIFT.collect() for sample in metric.samples if sample.labels}
    assert exported == {kind.value for kind in DriftKind}


# — tasks in flight —


def test_what_looks_different_while_a_task_runs_is_undecided_and_not_counted(volume: FakeUpkeep) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(volume.has(workspace))
    make_task(workspace, Op.SNAPSHOT_DROP, snapshot=make_snapshot(workspace), status=Status.RUNNING)
    counted = DRIFT.labels(kind=DriftKind.ORPHANED_ROW.value)
    before = counted._value.get()
    code, answer = index("--fix")
    assert (code, answer["findings"], answer["undecided"]) == (1, [], [workspace.wsid])
    assert Snapshot.objects.get(pk=snapshot.pk).orphaned_at is None
    assert counted._value.get() == before


def test_a_task_that_ends_between_the_look_at_the_disk_and_at_the_rows_leaves_no_finding(volume: FakeUpkeep) -> None:
    workspace = volume.has(make_workspace())

    def finish_one(wsid: str) -> None:
        if not Snapshot.objects.exists():
            volume.has_snapshot(make_snapshot(workspace))

    volume.on_look = finish_one
    code, answer = index("--fix")
    assert (code, answer["findings"]) == (0, [])
    assert len(volume.looked_at) == 2, "the rows said more than the first look"
    assert Snapshot.objects.get().orphaned_at is None


def test_the_second_look_is_under_run(volume: FakeUpkeep) -> None:
    workspace = volume.has(make_workspace())
    make_snapshot(workspace)
    pool = GuardPool(direct_conninfo(application_name="wvs-test"))
    free: list[bool] = []

    def try_run(wsid: str) -> None:
        guard = pool.acquire(wsid)
        free.append(guard is not None)
        if guard is not None:
            pool.release(guard)

    volume.on_look = try_run
    index("--fix")
    pool.close()
    assert free == [True, False]


def test_a_busy_workspace_gets_a_second_chance_at_the_end(volume: FakeUpkeep) -> None:
    busy, other = (volume.has(make_workspace(new_wsid(prefix))) for prefix in ("aa", "bb"))
    make_snapshot(busy)
    make_snapshot(other)
    task = make_task(busy, status=Status.RUNNING)

    def end(wsid: str) -> None:
        if wsid == other.wsid and volume.looked_at.count(wsid) == 2:
            Task.objects.filter(pk=task.pk).update(status=Status.FAILED)

    volume.on_look = end
    code, answer = index("--fix")
    assert (code, answer["undecided"]) == (0, [])
    assert kinds(answer) == [("orphaned_row", True)] * 2


def test_the_directory_of_a_drop_that_waits_for_its_retry_is_no_drift(volume: FakeUpkeep) -> None:
    workspace = volume.has(make_workspace())
    snapshot = make_snapshot(workspace)
    drop = make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot, status=Status.FAILED)
    snapshot.mark_dropped(drop.task_id)
    volume.has_snapshot(snapshot)
    assert index()[0] == 0


# — the whole volume, and parts of it —


def test_only_the_named_workspaces_are_looked_at(volume: FakeUpkeep) -> None:
    first, second = (volume.has(make_workspace()) for _ in range(2))
    for workspace in (first, second):
        make_snapshot(workspace)
    code, answer = index("--fix", "--wsid", first.wsid)
    assert (code, answer["workspaces"]) == (0, 1)
    assert set(volume.looked_at) == {first.wsid}
    assert index("--wsid", second.wsid)[0] == 1


def test_the_number_of_statements_depends_on_neither_snapshots_nor_workspaces_of_a_batch(volume: FakeUpkeep) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert index()[0] == 0
        return len(captured)

    workspace = volume.has(make_workspace())
    volume.has_snapshot(make_snapshot(workspace))
    few = statements()
    for _ in range(5):
        more = volume.has(make_workspace())
        for _ in range(5):
            volume.has_snapshot(make_snapshot(more))
    assert statements() == few


def test_more_than_one_batch_is_inspected(volume: FakeUpkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapshots.inspection.BATCH", 2)
    for _ in range(5):
        make_snapshot(volume.has(make_workspace()))
    code, answer = index("--fix")
    assert (code, answer["workspaces"], len(answer["findings"])) == (0, 5, 5)


def test_one_workspace_that_cannot_be_looked_at_hides_no_other(volume: FakeUpkeep) -> None:
    bad, good = (volume.has(make_workspace()) for _ in range(2))
    make_snapshot(good)
    volume.faults[bad.wsid] = ExecutorFault(FaultReason.UNSAFE_PATH, "planted")
    code, answer = index("--fix")
    assert (code, kinds(answer)) == (1, [("orphaned_row", True)])
    assert answer["problems"] == [{"wsid": bad.wsid, "problem": "UNSAFE_PATH: planted"}]


def test_a_repair_that_the_tables_refuse_is_a_problem_and_writes_nothing(volume: FakeUpkeep) -> None:
    workspace, other = volume.has(make_workspace()), make_workspace(state=WorkspaceState.PROVISIONING)
    taken = make_snapshot(other)
    lost = make_snapshot(workspace)
    volume.puts(workspace.wsid, taken.snapshot_id, facts())
    code, answer = index("--fix", "--wsid", workspace.wsid)
    assert code == 1
    assert "the tables refuse the repair" in answer["problems"][0]["problem"]
    assert Snapshot.objects.get(pk=lost.pk).orphaned_at is None


def test_a_repair_that_cannot_be_audited_does_not_happen(volume: FakeUpkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = make_snapshot(volume.has(make_workspace()))

    def refuse(**_: object) -> None:
        raise IntegrityError("no audit row")

    monkeypatch.setattr("snapshots.repair.record", refuse)
    code, answer = index("--fix")
    assert (code, len(answer["problems"])) == (1, 1)
    assert Snapshot.objects.get(pk=snapshot.pk).orphaned_at is None


# — what people see —


def test_people_get_a_line_for_each_finding_and_what_fix_would_do(volume: FakeUpkeep) -> None:
    snapshot = make_snapshot(volume.has(make_workspace()))
    code, said = index_text()
    assert code == 1
    assert f"orphaned_row         {snapshot.snapshot_id}: not on disk  --fix: say in the row" in said
    assert "workspaces: 1; repaired: 0; left: 1; undecided: 0" in said
    code, said = index_text("--fix")
    assert code == 0
    assert said.splitlines()[0].endswith("repaired")


@pytest.mark.parametrize(
    "arguments", [["--fix", "--dry-run"], ["--adopt"], ["--wsid", "../etc"], ["--wsid", "a-name-with-a-slip"]]
)
def test_nonsense_is_exit_code_2(volume: FakeUpkeep, arguments: list[str]) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("wvs_index", *arguments)
    assert refused.value.returncode == 2
    assert volume.looked_at == []


def test_a_volume_that_does_not_answer_is_exit_code_2_and_marks_nothing(volume: FakeUpkeep) -> None:
    workspace = volume.has(make_workspace())
    snapshot = make_snapshot(workspace)
    volume.faults[workspace.wsid] = ExecutorFault(FaultReason.UNAVAILABLE, "the mount is gone")
    with pytest.raises(CommandError, match="the mount is gone") as refused:
        call_command("wvs_index", "--fix")
    assert refused.value.returncode == 2
    assert Snapshot.objects.get(pk=snapshot.pk).orphaned_at is None


def test_nothing_is_repaired_by_an_empty_volume_which_is_likely_not_mounted(volume: FakeUpkeep) -> None:
    snapshot = make_snapshot(make_workspace())
    with pytest.raises(CommandError, match="is it mounted") as refused:
        call_command("wvs_index", "--fix")
    assert refused.value.returncode == 2
    assert Snapshot.objects.get(pk=snapshot.pk).orphaned_at is None
    assert index()[0] == 1, "a report may say what it sees"


# — a real disk —


@pytest.fixture
def world(transactional_db: None, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("EXECUTOR_MOUNT_PATH", str(workdir))
    engine = build_engine(get_config(), LocalExecutor(read_config()))
    yield World(workdir, engine)
    engine.close()


def test_rows_that_were_lost_come_back_from_the_disk_as_they_were(world: World) -> None:
    world.done(world.submit(Op.SET_CURRENT))
    assert index()[0] == 0
    pointer = Workspace.objects.values("current_path", "current_snapshot_id").get()
    snapshot = Snapshot.objects.values().get()
    Workspace.objects.update(current_path=f"/ws/{world.wsid}/live/initial", current_snapshot_id=None)
    Snapshot.objects.all().delete()
    code, answer = index("--fix")
    assert (code, kinds(answer)) == (0, [("pointer", True), ("missing_row", True)])
    assert Workspace.objects.values("current_path", "current_snapshot_id").get() == pointer
    again = Snapshot.objects.values().get()
    made = ("created_at",)  # when the executor made it, a moment before its row was written
    assert {**again, **dict.fromkeys(made)} == {**snapshot, **dict.fromkeys(made)}
    assert again["created_at"] <= snapshot["created_at"]
    assert index()[0] == 0


def test_what_a_crashed_worker_published_is_no_drift_and_is_applied_later(world: World) -> None:
    task = world.submit(Op.SNAPSHOT_CREATE)
    world.crash_at("engine.executed")
    code, answer = index("--fix")
    assert (code, answer["undecided"]) == (0, []), "a published snapshot of a live task is no difference at all"
    world.engine.serve(world.wsid)  # rescued: FAILED, to be probed
    assert index("--fix", "--adopt")[0] == 0
    assert not Snapshot.objects.exists()
    assert world.done(task).state is Status.SUCCEEDED
    world.assert_whole(task)
    assert index()[0] == 0


def test_a_broken_descriptor_and_a_planted_file_are_seen_on_a_real_disk(world: World) -> None:
    task = world.done(world.submit(Op.SNAPSHOT_CREATE))
    (world.root / "snapshots" / str(task.snapshot_id) / ".wvs/snapshot.json").write_text("{}")
    (world.root / "notes").touch()
    code, answer = index("--fix")
    assert code == 1
    assert sorted(kinds(answer)) == [("invalid_snapshot", False), ("orphaned_row", True), ("strange", False)]

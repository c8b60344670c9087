"""`manage.py cleanup`: the sweep by hand, with reasons and exit codes (SPEC §9; RK-04, G20)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from executor.config import read_config
from executor.local import LocalExecutor
from snapshots.housekeeping import delete_unneeded_tasks
from tasks.audit import ANONYMOUS
from tasks.models import Op, Task
from tasks.states import Status
from tasks.worker import build_engine
from tests.e2e.world import World
from tests.factories import from_now, make_task, make_workspace
from workspaces.models import Workspace
from workspaces.services import disable_workspace
from wvs_project.config import get_config

pytestmark = [pytest.mark.rule("RK-04"), pytest.mark.django_db(transaction=True)]
DAY = 86400


@pytest.fixture
def world(transactional_db: None, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A workspace whose first tree was switched away from."""
    monkeypatch.setenv("EXECUTOR_MOUNT_PATH", str(workdir))
    engine = build_engine(get_config(), LocalExecutor(read_config()))
    world = World(workdir, engine)
    world.done(world.submit(Op.SET_CURRENT))
    yield world
    engine.close()


def cleanup(*arguments: str) -> str:
    """What it says on standard output."""
    out = StringIO()
    call_command("cleanup", *arguments, stdout=out, stderr=StringIO(), no_color=True)
    return out.getvalue()


def cleanup_json(*arguments: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(cleanup("--json", *arguments))
    return answer


def test_it_keeps_old_trees_for_their_grace(world: World) -> None:
    said = cleanup()
    assert "stays  live/initial: switched away from" in said
    assert "stays until" in said
    assert (world.root / "live/initial").is_dir()


def test_older_than_shortens_the_grace(world: World) -> None:
    said = cleanup("--older-than", "1ms")
    assert "goes   live/initial" in said
    assert not (world.root / "live/initial").exists()
    assert "gone: 1 live" in said


def test_a_dry_run_says_the_same_and_deletes_nothing(world: World) -> None:
    old_task = make_task(world.row(), status=Status.DEAD)
    Task.objects.filter(pk=old_task.pk).update(created_at=from_now(-40 * DAY), ended_at=from_now(-40 * DAY))
    said = cleanup("--dry-run", "--older-than", "1ms")
    assert "goes   live/initial" in said
    assert "would go: 1 live; finished tasks: 1" in said
    assert (world.root / "live/initial").is_dir()
    assert Task.objects.filter(pk=old_task.pk).exists()


def test_its_json_names_each_thing_and_why(world: World) -> None:
    answer = cleanup_json("--dry-run", "--older-than", "1ms")
    (workspace,) = answer["workspaces"]
    said = {(item["kind"], item["name"]): item for item in workspace["verdicts"]}
    assert answer["dry_run"] is True
    assert workspace["wsid"] == world.wsid
    assert said["live", "initial"]["goes"] is True
    assert said["live", world.row().current_live_id] | {"why": ""} == {
        "kind": "live",
        "name": world.row().current_live_id,
        "goes": False,
        "why": "",
        "drift": None,
        "ordinary": False,
    }


def test_snapshots_that_are_just_there_are_named_only_when_asked_for(world: World) -> None:
    (snapshot,) = (world.root / "snapshots").iterdir()
    assert snapshot.name not in cleanup("--dry-run")
    assert f"stays  snapshot/{snapshot.name}: a snapshot" in cleanup("--dry-run", "-v", "2")


def test_it_may_be_told_which_workspaces(world: World) -> None:
    cleanup("--wsid", "another", "--older-than", "1ms")
    assert (world.root / "live/initial").is_dir()
    cleanup("--wsid", world.wsid, "--older-than", "1ms")
    assert not (world.root / "live/initial").exists()


def test_long_disabled_workspaces_go_only_when_asked_for(world: World) -> None:
    disable_workspace(wsid=world.wsid, actor=ANONYMOUS, request_id="req-1")
    Workspace.objects.filter(pk=world.wsid).update(updated_at=from_now(-31 * DAY))
    cleanup()
    assert world.tree.is_dir()
    assert "has been disabled for long" in cleanup("--purge-disabled")
    assert {path.name for path in world.root.iterdir()} == {".wvs"}


def test_what_cannot_be_deleted_is_said_and_is_exit_code_1(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "nobody may")

    monkeypatch.setattr("executor.clone.copy.CopyDriver.delete", refuse)
    with pytest.raises(CommandError, match="still there") as refused:
        cleanup("--older-than", "1ms")
    assert refused.value.returncode == 1


def test_without_a_volume_it_cannot_begin_which_is_exit_code_2(
    transactional_db: None, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECUTOR_MOUNT_PATH", str(workdir / "nowhere"))
    with pytest.raises(CommandError, match="EXECUTOR_MOUNT_PATH") as refused:
        cleanup()
    assert refused.value.returncode == 2


def test_a_duration_that_is_none_is_a_usage_error(transactional_db: None) -> None:
    with pytest.raises(CommandError, match="is not a duration"):
        cleanup("--older-than", "soon")


def _ended(days_ago: float, **fields: Any) -> Task:
    task = make_task(fields.pop("workspace", None) or make_workspace(), **({"status": Status.SUCCEEDED} | fields))
    Task.objects.filter(pk=task.pk).update(created_at=from_now(-days_ago * DAY), ended_at=from_now(-days_ago * DAY))
    return task


def _forgotten(task: Task, *, retention_days: float = 30) -> bool:
    sum(delete_unneeded_tasks(retention=retention_days * DAY))
    return not Task.objects.filter(pk=task.pk).exists()


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.CANCELED, Status.DEAD])
def test_a_finished_task_goes_after_its_retention(transactional_db: None, status: Status) -> None:
    young = _ended(29, status=status)
    assert _forgotten(_ended(31, status=status))
    assert not _forgotten(young)


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING, Status.FAILED])
def test_a_live_task_stays_however_old_it_is(transactional_db: None, status: Status) -> None:
    task = make_task(make_workspace(), status=status)
    Task.objects.filter(pk=task.pk).update(created_at=from_now(-400 * DAY))
    assert not _forgotten(task)


def test_one_that_was_accepted_long_ago_and_ended_lately_stays(transactional_db: None) -> None:
    task = _ended(31)
    Task.objects.filter(pk=task.pk).update(ended_at=from_now(0))
    assert not _forgotten(task)


def test_the_switch_that_made_what_is_current_stays_for_ever(world: World) -> None:
    switch = Task.objects.get(op=Op.SET_CURRENT)
    create = Task.objects.get(op=Op.SNAPSHOT_CREATE)
    Task.objects.update(created_at=from_now(-400 * DAY), ended_at=from_now(-400 * DAY))
    assert not _forgotten(switch)
    assert not Task.objects.filter(pk=create.pk).exists()


def test_an_operator_cannot_undercut_the_idempotency_horizon(world: World) -> None:
    within = _ended(6, workspace=world.row())
    cleanup("--older-than", "1h")
    assert Task.objects.filter(pk=within.pk).exists()
    beyond = _ended(8, workspace=world.row())
    cleanup("--older-than", "1h")
    assert not Task.objects.filter(pk=beyond.pk).exists()


def test_more_than_one_batch_goes(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.retention.BATCH", 2)
    workspace = make_workspace()
    for _ in range(5):
        _ended(31, workspace=workspace)
    assert list(delete_unneeded_tasks(retention=30 * DAY)) == [2, 2, 1]

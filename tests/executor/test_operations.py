"""What the row says must be what is on disk, and ids address nothing but their own place (SPEC §2, §7; G17)."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from executor.clone.copy import CopyDriver
from executor.contract import ExecuteTask, ExecutorFault, FaultReason, OperationName
from executor.layout import Layout, WorkspaceLayout
from tests.executor.calls import Call
from tests.executor.conftest import MakeSite
from tests.executor.scene import Site, new_snapshot_id, new_task_id
from tests.executor.trees import plant_small, portrait

by_copy = pytest.mark.parametrize("driver", ["copy"], indirect=True)
CRAFTED = ["", ".", "..", "/", "../other", "a/b", "initial/..", "\0", "snap-", "task-", "x\n", "Ä" * 10, "a" * 300]


def reason(outcome: object) -> FaultReason:
    assert isinstance(outcome, ExecutorFault), outcome
    return outcome.reason


@pytest.mark.rule("G17")
@by_copy
@pytest.mark.parametrize("crafted", [*CRAFTED, None])
@pytest.mark.parametrize("op", list(OperationName))
def test_an_empty_or_crafted_id_addresses_nothing(site: Site, op: OperationName, crafted: str | None) -> None:
    plant_small(site.init())
    good = ExecuteTask(new_task_id(), site.wsid, op, 100, 60.0, site.snapshot(), "initial")
    before = portrait(site.ws.snapshots_dir), portrait(site.tree), site.ws.fence.read_bytes()
    fields = {"wsid"}
    if op is not OperationName.INIT_WORKSPACE:
        fields.add("snapshot_id")
    if op is OperationName.SNAPSHOT_CREATE:
        fields.add("source_live_id")
    for name in sorted(fields):
        bad = dataclasses.replace(good, fence=good.fence + 1, **{name: crafted})  # type: ignore[arg-type]
        assert reason(Call(partial(site.run, bad)).outcome()) is FaultReason.UNSAFE_PATH
    assert (portrait(site.ws.snapshots_dir), portrait(site.tree)) == before[:2]
    assert site.staged == []


@pytest.mark.rule("G17")
@pytest.mark.parametrize("crafted", CRAFTED)
def test_no_path_is_born_of_a_crafted_id(tmp_path: Path, crafted: str) -> None:
    ws = Layout(tmp_path).workspace("demo")
    births: list[Callable[[str], object]] = [
        Layout(tmp_path).workspace,
        ws.live,
        ws.link_target,
        ws.snapshot,
        lambda task: ws.staging(task, 1),
    ]
    for birth in births:
        with pytest.raises(ExecutorFault) as caught:
            birth(crafted)
        assert caught.value.reason is FaultReason.UNSAFE_PATH


@pytest.mark.rule("G17")
@pytest.mark.parametrize("fence", [0, -1])
def test_a_fence_is_a_positive_number(tmp_path: Path, fence: int) -> None:
    ws = WorkspaceLayout(tmp_path, "demo")
    with pytest.raises(ExecutorFault):
        ws.staging(new_task_id(), fence)


def test_a_row_that_names_another_tree_than_current_is_drift(site: Site) -> None:
    plant_small(site.init())
    snapshot = site.snapshot()
    stale = site.create_request()
    site.switch_to(snapshot)
    stale = site.again(stale)
    outcome = Call(lambda: site.run(stale)).outcome()
    assert reason(outcome) is FaultReason.DRIFT
    assert site.snapshots == [snapshot]
    assert site.staged == []


def test_a_switch_to_a_snapshot_that_is_not_there_is_missing_for_good(site: Site) -> None:
    site.init()
    outcome = Call(lambda: site.switch_to(new_snapshot_id())).outcome()
    assert reason(outcome) is FaultReason.SNAPSHOT_MISSING
    assert (site.live_id, site.lives, site.staged) == ("initial", ["initial"], [])


def test_a_workspace_that_was_never_made_is_refused_and_not_made(site: Site) -> None:
    create = site.request(OperationName.SNAPSHOT_CREATE, snapshot_id=new_snapshot_id(), source_live_id="initial")
    for request in (create, site.switch_request(new_snapshot_id()), site.drop_request(new_snapshot_id())):
        assert reason(Call(partial(site.run, request)).outcome()) is FaultReason.UNSAFE_PATH
        assert reason(Call(partial(site.probe, request)).outcome()) is FaultReason.UNSAFE_PATH
    assert not site.ws.root.exists()


def test_a_drop_of_what_is_gone_is_done(site: Site) -> None:
    site.init()
    assert site.run(site.drop_request(new_snapshot_id())).already_done


@by_copy
def test_a_directory_that_cannot_be_deleted_is_a_warning_and_the_next_attempt_deletes_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_small(site.init())
    drop = site.drop_request(site.snapshot())

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, "held by somebody")

    with monkeypatch.context() as patch:
        patch.setattr(CopyDriver, "delete", refuse)
        outcome = site.run(drop)
    assert "held by somebody" in outcome.warnings[0]
    assert site.snapshots == []
    assert site.staged == [f"{drop.task_id}.{drop.fence}"]
    assert site.run(site.again(drop)).already_done
    assert site.staged == []


@by_copy
def test_a_snapshot_with_the_longest_message_in_any_script_is_whole(make_site: MakeSite) -> None:
    site = make_site()
    site.init()
    request = dataclasses.replace(site.create_request(), message="\N{DECIDUOUS TREE}" * 4096)
    site.run(request)
    assert site.run(site.again(request)).already_done


def test_current_is_a_relative_link_after_every_switch(site: Site) -> None:
    plant_small(site.init())
    snapshot = site.snapshot()
    for _ in range(3):
        site.switch_to(snapshot)
        assert os.readlink(site.ws.current) == f"live/{site.live_id}"  # noqa: PTH115
        assert portrait(site.tree) == portrait(site.snapshot_tree(snapshot))
    assert len(site.lives) == 4

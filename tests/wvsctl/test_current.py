"""wvsctl current."""

from __future__ import annotations

import pytest

from tasks.engine import Engine
from tasks.models import Task
from tests.factories import make_current, make_snapshot, make_workspace
from tests.wvsctl.running import Wvsctl, do_next
from workspaces.models import Workspace

pytestmark = pytest.mark.rule("SPEC §9")


def test_get_shows_the_pointer_and_the_path(wvsctl: Wvsctl) -> None:
    workspace = make_workspace("demo")
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    shown = wvsctl("current get demo --json").json
    assert shown.keys() == {"wsid", "current_path", "current_snapshot_id", "updated_at"}
    assert (shown["current_snapshot_id"], shown["current_path"]) == (snapshot.snapshot_id, workspace.current_path)
    assert snapshot.snapshot_id in wvsctl("current get demo").ok()


def test_set_switches_and_waits(wvsctl: Wvsctl, engine: Engine) -> None:
    snapshot = make_snapshot(make_workspace("demo"))
    worker = do_next(engine, "demo")
    made = wvsctl(f"current set demo {snapshot.snapshot_id} --yes --wait --json").json
    worker.result()
    assert (made["status"], made["next"]) == ("SUCCEEDED", "wvsctl current get demo")
    assert Workspace.objects.get(pk="demo").current_snapshot_id == snapshot.snapshot_id


def test_set_asks_nobody_where_nobody_can_answer_and_does_nothing(wvsctl: Wvsctl) -> None:
    workspace = make_workspace("demo")
    newest = make_snapshot(workspace)
    refused = wvsctl(f"current set demo {newest.snapshot_id}")
    assert (refused.code, Task.objects.count()) == (2, 0)
    assert newest.snapshot_id in refused.err
    assert "--yes" in refused.err
    assert "wvsctl snapshot create demo --wait" in refused.err


def test_set_to_where_it_is_leaves_nothing_behind_and_so_does_not_ask(wvsctl: Wvsctl, engine: Engine) -> None:
    workspace = make_workspace("demo")
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    worker = do_next(engine, "demo")
    said = wvsctl(f"current set demo {snapshot.snapshot_id} --wait").ok()
    worker.result()
    assert "nothing was to be done" in said
    assert wvsctl(f"current set demo {snapshot.snapshot_id} --fresh").code == 2


def test_set_fresh_asks_for_a_new_tree(wvsctl: Wvsctl) -> None:
    workspace = make_workspace("demo")
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    made = wvsctl(f"current set demo {snapshot.snapshot_id} --fresh --yes --json").json
    assert Task.objects.get(pk=made["task_id"]).params["fresh"] is True

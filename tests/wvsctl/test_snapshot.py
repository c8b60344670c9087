"""wvsctl snapshot."""

from __future__ import annotations

import pytest

from snapshots.models import Snapshot
from tasks.engine import Engine
from tests.factories import make_current, make_snapshot, make_workspace
from tests.wvsctl.running import KEYS_OF_A_WRITE, Wvsctl, do_next
from wvs_project.ids import new_snapshot_id

pytestmark = pytest.mark.rule("SPEC §9")


def test_create_knows_its_snapshot_at_once_and_waits_for_it(wvsctl: Wvsctl, engine: Engine) -> None:
    make_workspace("demo")
    worker = do_next(engine, "demo")
    made = wvsctl("snapshot create demo -m 'before lunch' --wait --output json").json
    worker.result()
    assert made.keys() == KEYS_OF_A_WRITE
    assert (made["status"], made["task"]["result"]["entries"]) == ("SUCCEEDED", 3)
    assert made["next"] == f"wvsctl current set demo {made['snapshot_id']}"
    assert Snapshot.objects.get(pk=made["snapshot_id"]).message == "before lunch"


def test_create_in_a_disabled_workspace_says_gone_and_how_to_see_it(wvsctl: Wvsctl) -> None:
    make_workspace("demo").disable()
    refused = wvsctl("snapshot create demo")
    assert refused.code == 1
    assert "wvsctl: WVS_GONE: workspace demo is disabled" in refused.err
    assert "try: wvsctl workspace get demo" in refused.err


def test_list_shows_which_one_is_current(wvsctl: Wvsctl) -> None:
    workspace = make_workspace("demo")
    older, newer = make_snapshot(workspace), make_snapshot(workspace)
    make_current(workspace, older)
    items = wvsctl("snapshot list demo --json").json["items"]
    assert [(one["snapshot_id"], one["is_current"]) for one in items] == [
        (newer.snapshot_id, False),
        (older.snapshot_id, True),
    ]
    assert older.snapshot_id in wvsctl("snapshot list demo").ok()


def test_get_shows_one(wvsctl: Wvsctl) -> None:
    snapshot = make_snapshot(make_workspace("demo"))
    shown = wvsctl(f"snapshot get demo {snapshot.snapshot_id} --json").json
    assert (shown["snapshot_id"], shown["entries"], shown["bytes"]) == (snapshot.snapshot_id, 3, 1024)
    assert snapshot.fs_path in wvsctl(f"snapshot get demo {snapshot.snapshot_id}").ok()


def test_get_of_another_workspaces_is_not_found_and_says_where_to_look(wvsctl: Wvsctl) -> None:
    make_workspace("demo")
    foreign = make_snapshot(make_workspace("other"))
    error = wvsctl(f"snapshot get demo {foreign.snapshot_id} --json").error
    assert (error["code"], error["next"]) == ("WVS_NOT_FOUND", ["wvsctl snapshot list demo"])


def test_drop_waits_until_it_is_gone(wvsctl: Wvsctl, engine: Engine) -> None:
    snapshot = make_snapshot(make_workspace("demo"))
    worker = do_next(engine, "demo")
    made = wvsctl(f"snapshot drop demo {snapshot.snapshot_id} --wait --json").json
    worker.result()
    assert (made["status"], made["task"]["op"]) == ("SUCCEEDED", "snapshot_drop")
    assert wvsctl("snapshot list demo --json").json["items"] == []


def test_drop_of_the_current_one_says_what_needs_it_and_what_to_do(wvsctl: Wvsctl) -> None:
    workspace = make_workspace("demo")
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    refused = wvsctl(f"snapshot drop demo {snapshot.snapshot_id}")
    assert refused.code == 1
    assert "wvsctl: WVS_CONFLICT_SNAPSHOT_IN_USE: " in refused.err
    assert f"blocked by: current is {snapshot.snapshot_id}" in refused.err
    assert "try: wvsctl snapshot list demo" in refused.err


def test_what_others_wrote_does_not_steer_the_terminal(wvsctl: Wvsctl) -> None:
    snapshot = make_snapshot(make_workspace("demo"), message="\x1b[2Jgone [red]not red[/red]\nsecond line")
    for line in ("snapshot list demo", f"snapshot get demo {snapshot.snapshot_id}"):
        shown = wvsctl(line).ok()
        assert "\x1b" not in shown
        assert "gone [red]not red[/red] second line" in shown
    assert wvsctl("snapshot list demo --json").json["items"][0]["message"] == snapshot.message


def test_a_line_that_is_piped_on_is_neither_broken_nor_padded(wvsctl: Wvsctl) -> None:
    workspace = make_workspace("demo")
    for length in (300, 2):
        make_snapshot(workspace, message="x" * length)
    shown = wvsctl("snapshot list demo").ok().splitlines()
    assert len(shown) == 3
    assert [line for line in shown if line != line.rstrip()] == []


def test_a_snapshot_id_that_is_none_is_not_found(wvsctl: Wvsctl) -> None:
    make_workspace("demo")
    assert wvsctl(f"snapshot drop demo {new_snapshot_id()} --json").error["code"] == "WVS_NOT_FOUND"

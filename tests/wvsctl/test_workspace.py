"""wvsctl workspace."""

from __future__ import annotations

import pytest

from executor.contract import FaultReason
from tasks.engine import Engine
from tasks.models import Op, Task
from tasks.states import Status
from tests.factories import make_task, make_workspace
from tests.fakes import FakeExecutor, fault
from tests.wvsctl.running import KEYS_OF_A_WRITE, Wvsctl, do_next
from workspaces.models import Workspace
from workspaces.states import WorkspaceState

pytestmark = pytest.mark.rule("SPEC §9")


def test_create_waits_until_the_workspace_can_be_used(wvsctl: Wvsctl, engine: Engine) -> None:
    worker = do_next(engine, "demo")
    made = wvsctl("workspace create demo --owner team-a --wait --json").json
    worker.result()
    assert made.keys() == KEYS_OF_A_WRITE
    assert (made["status"], made["task"]["op"], made["replayed"]) == ("SUCCEEDED", "init_workspace", False)
    assert made["next"] == "wvsctl snapshot create demo"
    assert Workspace.objects.get(pk="demo").state == WorkspaceState.ACTIVE


def test_create_tells_the_task_and_the_command_that_follows_it(wvsctl: Wvsctl) -> None:
    said = wvsctl("workspace create demo --owner team-a").ok()
    task = Task.objects.get(workspace_id="demo")
    assert f"task {task.task_id} PENDING" in said
    assert f"next: wvsctl task watch {task.task_id}" in said


def test_create_that_is_repeated_with_its_key_is_done_once(wvsctl: Wvsctl) -> None:
    line = "workspace create demo --owner team-a --idempotency-key mine --json"
    first, again = wvsctl(line).json, wvsctl(line).json
    assert (first["task_id"], first["replayed"], again["replayed"]) == (again["task_id"], False, True)
    wvsctl(f"task cancel {first['task_id']}").ok()
    assert (first["status"], wvsctl(line).json["status"]) == ("PENDING", "CANCELED")


def test_create_of_a_taken_name_says_whose_it_is_and_how_to_see_it(wvsctl: Wvsctl) -> None:
    make_workspace("demo")
    refused = wvsctl("workspace create demo --owner team-b")
    assert (refused.code, refused.out) == (1, "")
    assert "wvsctl: WVS_CONFLICT_EXISTS: " in refused.err
    assert "blocked by: workspace demo is ACTIVE" in refused.err
    assert "try: wvsctl workspace get demo" in refused.err


def test_create_whose_task_dies_fails_under_wait_and_names_the_reason(
    wvsctl: Wvsctl, engine: Engine, fake: FakeExecutor
) -> None:
    fake.on_execute.append(fault(FaultReason.UNSAFE_PATH))
    worker = do_next(engine, "demo")
    failed = wvsctl("workspace create demo --owner team-a --wait")
    worker.result()
    task = Task.objects.get(workspace_id="demo")
    assert failed.code == 1
    assert "wvsctl: WVS_EXECUTOR_ERROR/UNSAFE_PATH: " in failed.err
    assert "try: wvsctl workspace retry-init demo --wait" in failed.err
    assert f"try: wvsctl task get {task.task_id}" in failed.err


def test_get_shows_one(wvsctl: Wvsctl) -> None:
    workspace = make_workspace("demo")
    assert wvsctl("workspace get demo --json").json == {
        "wsid": "demo",
        "owner": "team-a",
        "state": "ACTIVE",
        "root_path": workspace.root_path,
        "current_path": workspace.current_path,
        "current_snapshot_id": None,
        "created_at": workspace.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "updated_at": workspace.updated_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    assert "ACTIVE" in wvsctl("workspace get demo").ok()


def test_get_of_none_says_how_to_find_one(wvsctl: Wvsctl) -> None:
    error = wvsctl("workspace get nobody --json").error
    assert (error["code"], error["status"], error["next"]) == ("WVS_NOT_FOUND", 404, ["wvsctl workspace list"])
    assert error["request_id"].startswith("req-")


@pytest.mark.parametrize("odd", ["..", "demo/snapshots", "%2e%2e", " ", "", "demo?x=1", "demo#x"])
def test_an_id_from_the_command_line_never_addresses_something_else(wvsctl: Wvsctl, odd: str) -> None:
    """%2F is a slash to the server: so it is not sent."""
    make_workspace("demo")
    refused = wvsctl("workspace disable --", odd)
    assert (refused.code, "cannot be an id" in refused.err) == (2, True)
    assert Workspace.objects.get(pk="demo").state == WorkspaceState.ACTIVE


def test_list_filters_and_goes_page_by_page(wvsctl: Wvsctl) -> None:
    for number in range(3):
        make_workspace(f"demo-{number}")
    make_workspace("other", state=WorkspaceState.INIT_FAILED)
    line = "workspace list --state ACTIVE --owner team-a --json"
    first = wvsctl(f"{line} --limit 2").json
    rest = wvsctl(f"{line} --limit 2 --cursor {first['next_cursor']}").json
    assert [one["wsid"] for one in first["items"] + rest["items"]] == ["demo-2", "demo-1", "demo-0"]
    assert rest["next_cursor"] is None
    assert wvsctl(f"{line} --all").json["items"] == first["items"] + rest["items"]
    table = wvsctl("workspace list --limit 2")
    assert table.ok().splitlines()[0].split()[:3] == ["WSID", "OWNER", "STATE"]
    assert "there are more: --cursor " in table.err


def test_retry_init_makes_the_directory_after_all(wvsctl: Wvsctl, engine: Engine) -> None:
    workspace = make_workspace("demo", state=WorkspaceState.INIT_FAILED)
    make_task(workspace, Op.INIT_WORKSPACE, status=Status.DEAD)
    worker = do_next(engine, "demo")
    made = wvsctl("workspace retry-init demo --wait --json").json
    worker.result()
    assert (made["status"], made["next"]) == ("SUCCEEDED", "wvsctl workspace get demo")


def test_retry_init_of_an_active_workspace_is_refused_with_its_state(wvsctl: Wvsctl) -> None:
    make_workspace("demo")
    error = wvsctl("workspace retry-init demo --json").error
    assert (error["code"], error["details"]["blockers"][0]["state"]) == ("WVS_PRECONDITION_FAILED", "ACTIVE")


def test_disable_can_be_repeated(wvsctl: Wvsctl) -> None:
    make_workspace("demo")
    first, again = (wvsctl("workspace disable demo --json").json for _ in range(2))
    assert (first, first["state"]) == (again, "DISABLED")
    assert "workspace demo is DISABLED" in wvsctl("workspace disable demo").ok()


def test_disable_with_a_live_task_names_it_and_how_to_watch_or_cancel_it(wvsctl: Wvsctl) -> None:
    task = make_task(make_workspace("demo"))
    refused = wvsctl("workspace disable demo")
    assert refused.code == 1
    assert "WVS_PRECONDITION_FAILED" in refused.err
    assert f"blocked by: task {task.task_id} (snapshot_create, PENDING)" in refused.err
    assert f"try: wvsctl task watch {task.task_id}" in refused.err
    assert f"try: wvsctl task cancel {task.task_id}" in refused.err

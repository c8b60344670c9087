"""wvsctl task."""

from __future__ import annotations

import pytest

from tasks.engine import Engine
from tasks.models import Op, Task
from tasks.states import Status
from tests.factories import make_task, make_workspace
from tests.fakes import FakeExecutor, Gate
from tests.waiting import InThread
from tests.wvsctl.running import Ran, Wvsctl, do_next
from wvs_project.stack.waiting import LOOPBACK, free_port

pytestmark = pytest.mark.rule("SPEC §9")


def test_list_filters(wvsctl: Wvsctl) -> None:
    workspace = make_workspace("demo")
    dead = make_task(workspace, Op.SNAPSHOT_CREATE, status=Status.DEAD, error={"code": "X", "reason": "NO_SPACE"})
    make_task(workspace, Op.SET_CURRENT, status=Status.SUCCEEDED)
    make_task(make_workspace("other"), status=Status.DEAD)
    found = wvsctl("task list --wsid demo --status DEAD --op snapshot_create --json").json
    assert [one["task_id"] for one in found["items"]] == [dead.task_id]
    assert "NO_SPACE" in wvsctl("task list --wsid demo").ok()


def test_list_with_a_filter_that_is_none_is_refused_and_points_at_the_help(wvsctl: Wvsctl) -> None:
    refused = wvsctl("task list --status HAPPY")
    assert refused.code == 1
    assert "wvsctl: WVS_BAD_REQUEST: status" in refused.err
    assert "try: wvsctl task list --help" in refused.err


def test_get_shows_all_of_it(wvsctl: Wvsctl) -> None:
    task = make_task(make_workspace("demo"), status=Status.SUCCEEDED)
    shown = wvsctl(f"task get {task.task_id} --json").json
    assert (shown["task_id"], shown["status"]) == (task.task_id, "SUCCEEDED")
    assert shown["actor"] == {"type": "test", "id": "tester"}
    assert task.task_id in wvsctl(f"task get {task.task_id}").ok()


def test_get_of_none_says_how_to_find_one(wvsctl: Wvsctl) -> None:
    assert wvsctl("task get task-0 --json").error["next"] == ["wvsctl task list"]


def test_watch_ends_with_the_task(wvsctl: Wvsctl) -> None:
    task = make_task(make_workspace("demo"), status=Status.RUNNING)
    watching: InThread[Ran] = InThread(lambda: wvsctl(f"task watch {task.task_id} --json"))
    task.move(Status.SUCCEEDED, result={"noop": True})
    assert watching.result().json["status"] == "SUCCEEDED"


@pytest.mark.parametrize("ended", [Status.DEAD, Status.CANCELED])
def test_watch_of_a_task_that_does_not_succeed_fails(wvsctl: Wvsctl, ended: Status) -> None:
    task = make_task(make_workspace("demo"), status=ended)
    failed = wvsctl(f"task watch {task.task_id}")
    assert failed.code == 1
    assert ended.value in failed.out
    assert f"try: wvsctl task get {task.task_id}" in failed.err


def test_watch_gives_up_after_its_time_and_says_that_the_task_goes_on(wvsctl: Wvsctl) -> None:
    task = make_task(make_workspace("demo"))
    late = wvsctl(f"task watch {task.task_id} --timeout 50ms")
    assert (late.code, late.out) == (3, "")
    assert "wvsctl: WAIT_TIMED_OUT: " in late.err
    assert "is PENDING after 0.05 s; it goes on" in late.err
    assert f"try: wvsctl task watch {task.task_id}" in late.err


def test_an_api_that_is_lost_while_waiting_is_said_with_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WVS_RETRY_FOR", "0")
    error = Wvsctl()(f"task watch task-1 --api-url http://{LOOPBACK}:{free_port()} --json").error
    assert (error["code"], error["next"][-1]) == ("UNREACHABLE", "wvsctl task watch task-1")


@pytest.mark.parametrize("line", ["snapshot create demo", "workspace create demo --owner team-a"])
def test_a_write_that_got_no_answer_tells_the_key_to_repeat_it_with(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("WVS_RETRY_FOR", "250ms")
    nobody = f"--api-url http://{LOOPBACK}:{free_port()}"
    assert Wvsctl()(f"{line} --json {nobody}").error["idempotency_key"].startswith("wvsctl-")
    failed = Wvsctl()(f"{line} --idempotency-key mine {nobody}")
    assert failed.code == 1
    assert "it is tried again for 0.25 s" in failed.err
    assert "repeat it with: --idempotency-key mine" in failed.err


def test_cancel_of_what_has_not_begun_is_decided_at_once(wvsctl: Wvsctl) -> None:
    task = make_task(make_workspace("demo"))
    assert wvsctl(f"task cancel {task.task_id} --json").json == {
        "task_id": task.task_id,
        "status": "CANCELED",
        "cancel_requested": True,
    }


def test_cancel_of_what_runs_asks_it_to_stop_and_waits_if_told_to(
    wvsctl: Wvsctl, engine: Engine, fake: FakeExecutor
) -> None:
    task = make_task(make_workspace("demo"))
    gate = Gate()
    fake.on_execute.append(gate)
    worker = do_next(engine, "demo")
    gate.wait_entered()
    canceled = wvsctl(f"task cancel {task.task_id} --wait --json").json
    worker.result()
    assert (canceled["status"], Task.objects.get(pk=task.pk).status) == ("CANCELED", "CANCELED")


def test_cancel_of_a_finished_task_is_refused_and_says_how_it_ended(wvsctl: Wvsctl) -> None:
    task = make_task(make_workspace("demo"), status=Status.SUCCEEDED)
    refused = wvsctl(f"task cancel {task.task_id}")
    assert refused.code == 1
    assert "wvsctl: WVS_CONFLICT_LOCKED: " in refused.err
    assert f"blocked by: task {task.task_id} (snapshot_create, SUCCEEDED)" in refused.err
    assert f"try: wvsctl task get {task.task_id}" in refused.err

"""Idempotency-Key on every write that makes a task: replay, mismatch, concurrency (SPEC §4; P2-03)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tasks.models import AuditEvent, Task
from tasks.states import Status
from tests.api.client import Answer, Api
from tests.factories import make_snapshot, make_workspace, new_wsid
from tests.waiting import LIMIT, InThread
from workspaces.models import Workspace
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Write:
    """One write, and another one that is not the same."""

    method: str
    path: str
    body: dict[str, Any]
    other_path: str = ""
    other_body: dict[str, Any] | None = None

    def send(self, api: Api, key: str | None, *, other: bool = False) -> Answer:
        path = self.other_path if other and self.other_path else self.path
        body = self.other_body if other and self.other_body is not None else self.body
        return api.post(path, body, key=key) if self.method == "POST" else api.delete(path, body, key=key)


def create_workspace() -> Write:
    wsid = new_wsid()
    body = {"wsid": wsid, "owner": "x"}
    return Write("POST", "/v1/workspaces", body, other_body={"wsid": wsid, "owner": "y"})


def retry_init() -> Write:
    workspace = make_workspace(state=WorkspaceState.INIT_FAILED)
    other = {"wsid": workspace.wsid, "owner": "team-a"}
    return Write("POST", f"/v1/workspaces/{workspace.wsid}/retry-init", {}, "/v1/workspaces", other)


def create_snapshot() -> Write:
    path = f"/v1/workspaces/{make_workspace().wsid}/snapshots"
    return Write("POST", path, {"message": "a"}, other_body={"message": "b"})


def drop_snapshot() -> Write:
    workspace = make_workspace()
    one, other = (make_snapshot(workspace) for _ in range(2))
    path = f"/v1/workspaces/{workspace.wsid}/snapshots"
    return Write("DELETE", f"{path}/{one.snapshot_id}", {}, f"{path}/{other.snapshot_id}")


def set_current() -> Write:
    workspace = make_workspace()
    one, other = (make_snapshot(workspace).snapshot_id for _ in range(2))
    path = f"/v1/workspaces/{workspace.wsid}/current:set"
    return Write("POST", path, {"snapshot_id": one}, other_body={"snapshot_id": other})


every_write = pytest.mark.parametrize(
    "make", [create_workspace, retry_init, create_snapshot, drop_snapshot, set_current], ids=lambda make: make.__name__
)


def finish_all() -> None:
    for task in Task.objects.live():
        task.move(Status.CANCELED)


@every_write
@pytest.mark.parametrize("key", [None, "", " ", "two words", "ünï", "x" * 256, "tab\there"])
def test_without_a_usable_key_nothing_is_accepted(api: Api, make: Any, key: str | None) -> None:
    write: Write = make()
    details = write.send(api, key).refused(ErrorCode.BAD_REQUEST)
    assert list(details["fields"]) == ["Idempotency-Key"]
    assert not Task.objects.exists()


@every_write
def test_a_repeat_is_answered_with_the_same_task_as_it_is_now(api: Api, make: Any) -> None:
    write: Write = make()
    first = write.send(api, "key-1")
    assert not first.replayed
    events = AuditEvent.objects.count()
    again = write.send(api, "key-1")
    assert (again.accepted(), again.replayed) == (first.accepted(), True)
    assert again.headers["Location"] == first.headers["Location"]
    finish_all()
    later = write.send(api, "key-1")
    assert later.replayed
    if "status" in later.accepted():
        assert later.body["status"] == "CANCELED"
    assert (Task.objects.count(), AuditEvent.objects.count()) == (1, events)


@every_write
def test_the_same_key_with_another_request_is_refused_and_names_the_task(api: Api, make: Any) -> None:
    write: Write = make()
    location = write.send(api, "key-1").headers["Location"]
    details = write.send(api, "key-1", other=True).refused(ErrorCode.CONFLICT_IDEMPOTENT_MISMATCH)
    assert details["blockers"][0]["task_id"] == location.removeprefix("/v1/tasks/")
    assert Task.objects.count() == 1


@every_write
@pytest.mark.rule("P1-05")
def test_a_repeat_is_answered_after_disable_too(api: Api, make: Any) -> None:
    write: Write = make()
    first = write.send(api, "key-1").accepted()
    finish_all()
    task = Task.objects.get()
    api.delete(f"/v1/workspaces/{task.workspace_id}", key=None).found()
    again = write.send(api, "key-1")
    assert again.replayed
    assert again.accepted().get("task_id") == first.get("task_id")
    if write.path != "/v1/workspaces":
        write.send(api, "key-2").refused(ErrorCode.GONE)


def test_a_key_is_its_workspaces_and_its_operations_own(api: Api) -> None:
    one, other = make_workspace(), make_workspace()
    for workspace in (one, other):
        snapshot = make_snapshot(workspace)
        path = f"/v1/workspaces/{workspace.wsid}"
        assert not api.post(f"{path}/snapshots", key="key-1").replayed
        assert not api.post(f"{path}/current:set", {"snapshot_id": snapshot.snapshot_id}, key="key-1").replayed
    assert Task.objects.count() == 4


@pytest.mark.rule("P2-03")
@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b'{"snapshot_id":"%s","fresh":true}', b'{ "fresh" : true,\n\t"snapshot_id":"%s" }'),
        (b'{"snapshot_id":"%s","fresh":false}', b'{"\\u0066resh":false,"snapshot_\\u0069d":"%s"}'),
    ],
)
def test_order_spacing_and_escapes_make_no_other_request(api: Api, first: bytes, again: bytes) -> None:
    snapshot = make_snapshot(make_workspace())
    path, key = f"/v1/workspaces/{snapshot.workspace_id}/current:set", {"Idempotency-Key": "key-1"}
    for raw, replayed in ((first, False), (again, True)):
        answer = api.send("POST", path, content=raw % snapshot.snapshot_id.encode(), headers=key)
        assert answer.accepted()
        assert answer.replayed == replayed


@pytest.mark.rule("P2-03")
@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({}, {"message": ""}),
        ({"message": "caf\u00e9"}, {"message": "cafe\u0301"}),
        ({"message": "a"}, {"message": "a "}),
        ({"message": "1"}, {"message": "1.0"}),
    ],
)
def test_another_body_as_received_is_another_request(api: Api, first: Any, again: Any) -> None:
    path = f"/v1/workspaces/{make_workspace().wsid}/snapshots"
    api.post(path, first, key="key-1").accepted()
    api.post(path, again, key="key-1").refused(ErrorCode.CONFLICT_IDEMPOTENT_MISMATCH)


@pytest.mark.rule("P2-03")
def test_an_empty_body_and_an_empty_object_are_the_same_request(api: Api) -> None:
    path = f"/v1/workspaces/{make_workspace().wsid}/snapshots"
    api.post(path, key="key-1").accepted()
    assert api.post(path, {}, key="key-1").replayed


def test_a_request_that_was_refused_leaves_its_key_free(api: Api) -> None:
    workspace = make_workspace(state=WorkspaceState.PROVISIONING)
    path = f"/v1/workspaces/{workspace.wsid}/snapshots"
    api.post(path, key="key-1").refused(ErrorCode.PRECONDITION_FAILED)
    workspace.activate("/ws/x/live/initial")
    assert not api.post(path, key="key-1").replayed


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("make", [create_workspace, create_snapshot, set_current], ids=lambda make: make.__name__)
def test_eight_at_once_with_one_key_make_one_task(make: Any) -> None:
    write: Write = make()
    barrier = threading.Barrier(8)

    def send() -> Answer:
        api = Api()
        barrier.wait(LIMIT)
        return write.send(api, "key-1")

    answers = [thread.result() for thread in [InThread(partial(send)) for _ in range(8)]]
    assert len({answer.headers["Location"] for answer in answers if answer.accepted()}) == 1
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 7
    assert Task.objects.count() == 1
    assert Workspace.objects.count() == 1

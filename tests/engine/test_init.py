"""init_workspace: the workspace is usable when it ends, and has a way out when it fails (SPEC §5, §6)."""

from __future__ import annotations

import pytest

from executor.contract import FaultReason
from tasks.engine import Engine
from tasks.models import AuditEvent, Task
from tasks.services import cancel_task
from tasks.states import Status
from tests.engine.world import Held, fresh, status_of
from tests.factories import ACTOR, make_due, new_token, new_wsid
from tests.fakes import FakeExecutor, fault
from workspaces.models import Workspace
from workspaces.services import create_workspace, disable_workspace, enable_workspace, retry_init
from wvs_project.errors import ErrorCode, WvsError


@pytest.fixture
def task() -> Task:
    provisioning = create_workspace(wsid=new_wsid(), owner="team-a", token=new_token(), actor=ACTOR)
    return provisioning.accepted.task


def _state() -> str:
    return Workspace.objects.get().state


def test_a_workspace_that_was_initialised_is_active_at_its_first_tree(engine: Engine, task: Task) -> None:
    assert _state() == "PROVISIONING"
    engine.serve(task.workspace_id)
    workspace = Workspace.objects.get()
    assert (workspace.state, workspace.current_path) == ("ACTIVE", workspace.live_path("initial"))
    assert workspace.current_snapshot_id is None
    result = fresh(task).result
    assert result is not None
    assert result["current_path"] == workspace.current_path


@pytest.mark.rule("G19")
def test_workspace_task_and_audit_row_are_made_in_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**fields: object) -> None:
        raise RuntimeError("no audit")

    monkeypatch.setattr("tasks.services.record", fail)
    with pytest.raises(RuntimeError, match="no audit"):
        create_workspace(wsid=new_wsid(), owner="team-a", token=new_token(), actor=ACTOR)
    assert not Workspace.objects.exists()
    assert not Task.objects.exists()


@pytest.mark.rule("P1-02")
def test_a_canceled_init_leaves_init_failed_and_can_be_tried_again(engine: Engine, task: Task) -> None:
    cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1")
    assert (status_of(task), _state()) == (Status.CANCELED, "INIT_FAILED")
    again = retry_init(wsid=task.workspace_id, token=new_token(), actor=ACTOR).task
    assert _state() == "PROVISIONING"
    engine.serve(task.workspace_id)
    assert (status_of(again), _state()) == (Status.SUCCEEDED, "ACTIVE")
    assert AuditEvent.objects.filter(action="workspace.retry_init", task_id=again.task_id).exists()


@pytest.mark.rule("P1-02")
def test_an_init_that_is_canceled_while_it_runs_leaves_init_failed(
    engine: Engine, fake: FakeExecutor, task: Task
) -> None:
    held = Held(engine, fake, task)
    cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1")
    held.thread.result()
    assert (status_of(task), _state()) == (Status.CANCELED, "INIT_FAILED")


@pytest.mark.rule("SPEC §6")
def test_an_init_that_dies_sets_init_failed_with_its_last_attempt_and_not_before(
    engine: Engine, fake: FakeExecutor, task: Task
) -> None:
    for attempt in range(1, 6):
        fake.on_execute.append(fault(FaultReason.UNAVAILABLE))
        make_due(task)
        engine.serve(task.workspace_id)
        row = fresh(task)
        assert row.attempt == attempt
        assert (row.state, _state()) == (
            (Status.DEAD, "INIT_FAILED") if attempt == 5 else (Status.FAILED, "PROVISIONING")
        )


@pytest.mark.rule("SPEC §4")
def test_a_permanent_error_is_the_end_at_once(engine: Engine, fake: FakeExecutor, task: Task) -> None:
    fake.on_execute.append(fault(FaultReason.UNSAFE_PATH))
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt, _state()) == (Status.DEAD, 1, "INIT_FAILED")
    assert row.error is not None
    assert (row.error["code"], row.error["reason"]) == ("WVS_EXECUTOR_ERROR", "UNSAFE_PATH")


@pytest.mark.rule("SPEC §4")
def test_only_init_failed_can_be_tried_again(task: Task) -> None:
    with pytest.raises(WvsError) as refused:
        retry_init(wsid=task.workspace_id, token=new_token(), actor=ACTOR)
    assert refused.value.code is ErrorCode.PRECONDITION_FAILED


@pytest.mark.rule("H11")
def test_a_workspace_that_never_was_initialised_comes_back_as_it_was(task: Task) -> None:
    cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1")
    disable_workspace(wsid=task.workspace_id, actor=ACTOR, request_id="req-1")
    assert _state() == "DISABLED"
    assert enable_workspace(wsid=task.workspace_id, actor=ACTOR).state == "INIT_FAILED"


@pytest.mark.rule("G21")
def test_a_workspace_with_a_live_task_cannot_be_disabled(task: Task) -> None:
    with pytest.raises(WvsError) as refused:
        disable_workspace(wsid=task.workspace_id, actor=ACTOR, request_id="req-1")
    assert refused.value.code is ErrorCode.PRECONDITION_FAILED
    assert refused.value.details["blockers"] == [{"task_id": task.task_id, "op": "init_workspace", "status": "PENDING"}]

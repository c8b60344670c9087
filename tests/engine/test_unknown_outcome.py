"""A task of which nobody knows whether it was published is probed before anything else is said of it (SPEC §6, H8)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.db.backends.postgresql.base import DatabaseWrapper
from django.utils import timezone

from executor.contract import ExecuteTask, ExecutorFault, FaultReason, StopSignal
from snapshots.models import Snapshot
from tasks.engine import Engine
from tasks.models import AuditEvent, Op
from tasks.states import Status
from tests.engine.world import fresh, request_of, status_of, unknown
from tests.factories import make_due, make_snapshot, make_task, make_workspace
from tests.fakes import FakeExecutor, fault
from workspaces.models import Workspace

pytestmark = pytest.mark.rule("H8")


def test_what_was_published_has_succeeded_without_another_attempt(engine: Engine, fake: FakeExecutor) -> None:
    task = unknown(make_workspace())
    fake.publish(request_of(task))
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt, row.outcome_unknown) == (Status.SUCCEEDED, 1, False)
    assert fake.executed == []
    assert Snapshot.objects.get().snapshot_id == task.params["snapshot_id"]


def test_a_probe_has_a_fence_of_its_own_and_forbids_the_lost_run_to_publish(engine: Engine, fake: FakeExecutor) -> None:
    task = unknown(make_workspace())
    engine.serve(task.workspace_id)
    assert task.fence is not None
    assert fake.probed[0].fence > task.fence


def test_the_attempt_is_counted_only_when_it_goes_on_to_execute(engine: Engine, fake: FakeExecutor) -> None:
    task = unknown(make_workspace())
    fake.on_execute.append(fault(FaultReason.CLONE_FAILED))
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert len(fake.executed) == 1
    assert (row.state, row.attempt, row.outcome_unknown) == (Status.FAILED, 2, False)


def test_while_it_is_probed_no_attempt_is_counted(engine: Engine, fake: FakeExecutor) -> None:
    task = unknown(make_workspace(), attempt=5)
    seen: list[tuple[str, int, bool]] = []

    def look(request: ExecuteTask, stop: StopSignal) -> None:
        row = fresh(task)
        seen.append((row.status, row.attempt, row.outcome_unknown))

    fake.on_probe.append(look)
    engine.serve(task.workspace_id)
    assert seen == [("RUNNING", 5, True)]


@pytest.mark.rule("H8")
@pytest.mark.parametrize("published", [True, False])
def test_on_its_last_attempt_the_row_says_what_happened(engine: Engine, fake: FakeExecutor, *, published: bool) -> None:
    task = unknown(make_workspace(), attempt=5)
    if published:
        fake.publish(request_of(task))
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt) == (Status.SUCCEEDED if published else Status.DEAD, 5)
    assert fake.executed == []
    if not published:
        assert row.error is not None
        assert row.error["reason"] == "WORKER_LOST"
        assert AuditEvent.objects.filter(task_id=task.task_id, action="task.dead").count() == 1


def test_an_init_that_is_lost_on_its_last_attempt_sets_init_failed_in_the_same_transaction(engine: Engine) -> None:
    task = unknown(make_workspace(state="PROVISIONING"), Op.INIT_WORKSPACE, attempt=5)
    engine.serve(task.workspace_id)
    assert status_of(task) is Status.DEAD
    assert Workspace.objects.get().state == "INIT_FAILED"


def test_a_cancel_that_waits_is_done_when_nothing_was_published(engine: Engine, fake: FakeExecutor) -> None:
    task = unknown(make_workspace(), cancel_requested=True)
    engine.serve(task.workspace_id)
    assert (status_of(task), fake.executed) == (Status.CANCELED, [])


def test_a_cancel_that_waits_is_too_late_for_what_was_published(engine: Engine, fake: FakeExecutor) -> None:
    task = unknown(make_workspace(), cancel_requested=True)
    fake.publish(request_of(task))
    engine.serve(task.workspace_id)
    assert status_of(task) is Status.SUCCEEDED


@pytest.mark.parametrize("attempt", [1, 5])
@pytest.mark.parametrize("cancel_requested", [True, False])
@pytest.mark.parametrize("unsure", [True, False])
def test_a_probe_that_fails_answers_nothing_so_the_task_waits_and_is_probed_again(
    engine: Engine, fake: FakeExecutor, *, attempt: int, cancel_requested: bool, unsure: bool
) -> None:
    task = unknown(make_workspace(), attempt=attempt, cancel_requested=cancel_requested)
    fake.publish(request_of(task))
    fake.on_probe.append(fault(FaultReason.UNAVAILABLE, unknown=unsure))
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt, row.outcome_unknown) == (Status.FAILED, attempt, True)
    make_due(task)
    engine.serve(task.workspace_id)
    assert status_of(task) is Status.SUCCEEDED


def test_a_permanent_fault_of_a_probe_is_no_answer_either(engine: Engine, fake: FakeExecutor) -> None:
    task = unknown(make_workspace(), attempt=5)
    fake.on_probe.append(fault(FaultReason.NO_SPACE))
    engine.serve(task.workspace_id)
    assert status_of(task) is Status.FAILED


def test_a_place_that_can_never_be_probed_is_the_end(engine: Engine, fake: FakeExecutor) -> None:
    task = unknown(make_workspace())
    fake.on_probe.append(fault(FaultReason.UNSAFE_PATH))
    engine.serve(task.workspace_id)
    assert status_of(task) is Status.DEAD


@pytest.mark.rule("SPEC §6")
@pytest.mark.parametrize("attempt", [1, 5])
def test_an_attempt_that_ends_unknown_is_probed_before_it_is_retried_or_dead(
    engine: Engine, fake: FakeExecutor, attempt: int
) -> None:
    task = make_task(make_workspace(), attempt=attempt - 1)
    fake.on_execute.append(fault(FaultReason.UNAVAILABLE, unknown=True))
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt, row.outcome_unknown) == (Status.FAILED, attempt, True)
    fake.publish(request_of(task))
    make_due(task)
    engine.serve(task.workspace_id)
    assert (status_of(task), len(fake.executed)) == (Status.SUCCEEDED, 1)


@pytest.mark.rule("SPEC §6")
def test_an_executor_that_crashes_leaves_the_outcome_unknown(engine: Engine, fake: FakeExecutor) -> None:
    def crash(request: ExecuteTask, stop: StopSignal) -> None:
        raise RuntimeError("a defect")

    fake.on_execute.append(crash)
    task = make_task(make_workspace())
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.outcome_unknown) == (Status.FAILED, True)
    assert row.error is not None
    assert row.error["reason"] == "INTERNAL"


@pytest.mark.rule("G9")
def test_an_attempt_after_a_probe_is_counted_once_though_the_answer_to_the_commit_is_lost(
    engine: Engine, fake: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = unknown(make_workspace(), attempt=4)
    commit = DatabaseWrapper.commit

    def commit_and_lose(self: DatabaseWrapper) -> None:
        monkeypatch.setattr(DatabaseWrapper, "commit", commit)
        commit(self)
        raise OperationalError("server closed the connection unexpectedly")

    def lose(request: ExecuteTask, stop: StopSignal) -> None:
        monkeypatch.setattr(DatabaseWrapper, "commit", commit_and_lose)

    fake.on_probe.append(lose)
    engine.serve(task.workspace_id)
    row = fresh(task)
    assert (row.state, row.attempt) == (Status.SUCCEEDED, 5)
    assert len(fake.executed) == 1


def test_an_outcome_that_the_tables_refuse_is_said_in_the_row_and_probed_again_with_backoff(
    engine: Engine, fake: FakeExecutor
) -> None:
    workspace = make_workspace()
    task = make_task(workspace, Op.SNAPSHOT_CREATE)
    make_snapshot(workspace, snapshot_id=task.params["snapshot_id"], manifest_digest="sha256:of another tree")

    engine.serve(task.workspace_id)

    row = fresh(task)
    assert (row.state, row.outcome_unknown, row.attempt) == (Status.FAILED, True, 1)
    assert "cannot be recorded" in str(row.error)
    assert row.next_run_at > timezone.now()


def test_what_no_text_of_the_database_can_hold_is_written_in_another_way(engine: Engine, fake: FakeExecutor) -> None:
    def fail(request: ExecuteTask, stop: StopSignal) -> None:
        raise ExecutorFault(FaultReason.CLONE_FAILED, "a\0b \udcff")

    task = make_task(make_workspace(), Op.SNAPSHOT_CREATE)
    fake.on_execute.append(fail)

    engine.serve(task.workspace_id)

    row = fresh(task)
    assert row.error is not None
    assert row.error["message"] == "a\\0b \\udcff"


def test_an_unknown_outcome_whose_cancel_is_waited_for_is_probed_within_two_seconds(
    engine: Engine, fake: FakeExecutor
) -> None:
    task = unknown(make_workspace(), cancel_requested=True)
    fake.on_probe.append(fault(FaultReason.UNAVAILABLE))

    engine.serve(task.workspace_id)

    row = fresh(task)
    assert (row.state, row.outcome_unknown) == (Status.FAILED, True)
    assert row.next_run_at <= timezone.now() + timedelta(seconds=2)

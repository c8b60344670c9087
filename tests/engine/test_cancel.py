"""Cancel, from every state (SPEC §4, §6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from executor.contract import FaultReason
from tasks.engine import Engine
from tasks.models import AuditEvent, Op, Task
from tasks.services import cancel_task
from tasks.states import FINISHED, Status
from tasks.supervisor import Supervisor, Watched
from tests.engine.world import (
    Held,
    fresh,
    request_of,
    status_of,
    unknown,
    wait_listening,
    workspace_with_snapshot,
)
from tests.factories import ACTOR, make_task, make_workspace
from tests.fakes import FakeExecutor, Gate, fault
from tests.waiting import InThread
from wvs_project.errors import ErrorCode, WvsError


def _cancel(task: Task) -> Task:
    return cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1")


@pytest.mark.rule("P1-02")
@pytest.mark.parametrize("status", [Status.PENDING, Status.FAILED])
def test_what_does_not_run_is_canceled_at_once(status: Status) -> None:
    task = make_task(make_workspace(), status=status)
    answer = _cancel(task)
    assert (answer.status, answer.cancel_requested) == (Status.CANCELED, True)
    row = fresh(task)
    assert row.state is Status.CANCELED
    assert row.ended_at is not None


@pytest.mark.rule("P1-02")
@pytest.mark.parametrize("status", FINISHED)
def test_what_is_finished_cannot_be_canceled(status: Status) -> None:
    task = make_task(make_workspace(), status=status)
    with pytest.raises(WvsError) as refused:
        _cancel(task)
    assert refused.value.code is ErrorCode.CONFLICT_LOCKED
    assert refused.value.details["blockers"] == [{"task_id": task.task_id, "op": task.op, "status": status.value}]
    assert not fresh(task).cancel_requested


def test_a_task_that_is_not_there_cannot_be_canceled() -> None:
    with pytest.raises(WvsError) as refused:
        cancel_task(task_id="task-0", actor=ACTOR, request_id="req-1")
    assert refused.value.code is ErrorCode.NOT_FOUND


@pytest.mark.rule("G14")
def test_a_cancel_reaches_the_executor_by_its_notification(
    engine: Engine, fake: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a tick that never comes, only the NOTIFY is left.
    monkeypatch.setattr("tasks.supervisor.TICK_SECONDS", 3600.0)
    held = Held(engine, fake, make_task(make_workspace()))
    task = fresh(Task.objects.get())
    wait_listening()
    answer = _cancel(task)
    assert (answer.status, answer.cancel_requested) == (Status.RUNNING, True)
    held.thread.result()
    assert status_of(task) is Status.CANCELED
    assert fake.published == {}


@pytest.mark.rule("G14")
def test_a_cancel_reaches_the_executor_though_its_notification_is_lost(engine: Engine, fake: FakeExecutor) -> None:
    held = Held(engine, fake, make_task(make_workspace()))
    task = Task.objects.get()
    Task.objects.filter(pk=task.pk).update(cancel_requested=True)
    held.thread.result()
    assert status_of(task) is Status.CANCELED


@pytest.mark.rule("G14")
def test_a_cancel_that_came_before_the_run_was_watched_is_heard(
    engine: Engine, fake: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.supervisor.TICK_SECONDS", 3600.0)
    task = make_task(make_workspace())
    watch = Supervisor.watch

    def cancel_and_watch(self: Supervisor, run: Watched) -> None:
        _cancel(task)
        watch(self, run)

    monkeypatch.setattr(Supervisor, "watch", cancel_and_watch)
    fake.on_execute.append(Gate())
    engine.serve(task.workspace_id)
    assert status_of(task) is Status.CANCELED


@pytest.mark.rule("P1-02")
def test_what_was_published_before_the_cancel_came_has_succeeded(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace())
    published = Gate(obeys=False)
    fake.after = published
    serving = InThread(lambda: engine.serve(task.workspace_id))
    published.wait_entered()
    _cancel(task)
    published.wait_stopped()
    published.open()
    serving.result()
    assert status_of(task) is Status.SUCCEEDED


@pytest.mark.rule("SPEC §6")
def test_a_task_whose_cancel_was_requested_is_never_retried(engine: Engine, fake: FakeExecutor) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task, Gate(obeys=False, then=fault(FaultReason.CLONE_FAILED)))
    _cancel(task)
    held.end()
    row = fresh(task)
    assert row.state is Status.CANCELED
    assert row.attempt == 1


@pytest.mark.rule("SPEC §4")
@pytest.mark.parametrize("published", [True, False])
def test_a_failed_task_of_unknown_outcome_is_decided_by_a_probe(
    engine: Engine, fake: FakeExecutor, *, published: bool
) -> None:
    task = unknown(make_workspace(), next_run_at="2999-01-01T00:00:00Z")
    if published:
        fake.publish(request_of(task))
    answer = _cancel(task)
    assert (answer.status, answer.cancel_requested) == (Status.FAILED, True)
    engine.serve(task.workspace_id)
    assert status_of(task) is (Status.SUCCEEDED if published else Status.CANCELED)
    assert fake.executed == []
    assert fresh(task).attempt == 1


@pytest.mark.rule("SPEC §6")
def test_a_drop_that_runs_does_not_hear_a_cancel(engine: Engine, fake: FakeExecutor) -> None:
    workspace, snapshot = workspace_with_snapshot()
    drop = make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)
    held = Held(engine, fake, drop)
    other = Held(engine, fake, make_task(make_workspace()))
    assert _cancel(drop).cancel_requested
    # One look at the table decides about both: when the other has heard, the drop would have.
    _cancel(Task.objects.exclude(pk=drop.pk).get())
    other.gate.wait_stopped()
    other.thread.result()
    assert held.gate.stop is not None
    assert held.gate.stop.reason is None
    held.end()
    assert status_of(drop) is Status.SUCCEEDED


@pytest.mark.rule("SPEC §6")
def test_a_drop_that_was_handed_back_cannot_be_canceled(make_engine: Callable[[], Engine], fake: FakeExecutor) -> None:
    workspace, snapshot = workspace_with_snapshot()
    drop = make_task(workspace, Op.SNAPSHOT_DROP, snapshot=snapshot)
    first = make_engine()
    held = Held(first, fake, drop)
    first.stop_taking()
    first.hand_back_all()
    held.thread.result()
    assert _cancel(drop).status == Status.FAILED
    make_engine().serve(workspace.wsid)
    assert status_of(drop) is Status.SUCCEEDED


def test_a_cancel_is_in_the_audit_trail_with_who_asked(engine: Engine) -> None:
    task = make_task(make_workspace())
    _cancel(task)
    event = AuditEvent.objects.get(action="task.cancel")
    assert (event.wsid, event.task_id, event.request_id) == (task.workspace_id, task.task_id, "req-1")
    assert event.actor == ACTOR.as_json()
    assert event.payload["before"]["status"] == Status.PENDING
    assert event.payload["after"]["status"] == Status.CANCELED

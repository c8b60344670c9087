"""A worker that was stopped between execute and apply, and goes on when its task is another's (ENGINE I8; G9).

With the fence clause it changes nothing; without it, the checker of invariants finds what it did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import connection, transaction

from executor import failpoints
from snapshots.invariants import Violation, check
from tasks import settlement
from tasks.audit import Actor
from tasks.engine import Engine
from tasks.locks import hold_state, run_holders, terminate_backend
from tasks.models import Task
from tasks.states import Status
from tests.chaos import history
from tests.engine.world import fresh, status_of, wait_status
from tests.factories import make_due, make_task, make_workspace
from tests.fakes import FakeExecutor, Gate
from tests.waiting import LIMIT, InThread, eventually

pytestmark = [pytest.mark.rule("G9"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def recorded(transactional_db: None) -> Iterator[None]:
    history.install(connection)
    yield
    history.remove(connection)


_process = threading.local()


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread signs as the process that it stands for."""
    monkeypatch.setattr(settlement, "this_worker", lambda: Actor("worker", getattr(_process, "name", "?")))


def serving(name: str, engine: Engine, wsid: str) -> InThread[None]:
    def serve() -> None:
        _process.name = name
        engine.serve(wsid)

    return InThread(serve)


class Stop:
    """A failpoint at which the first that comes stands still until `go_on()`."""

    def __init__(self, name: str) -> None:
        self._came = threading.Event()
        self._go_on = threading.Event()
        failpoints.arm(name, self._stop)

    def _stop(self) -> None:
        if not self._came.is_set():
            self._came.set()
            self._go_on.wait(LIMIT)

    def wait_reached(self) -> None:
        assert self._came.wait(LIMIT)

    def go_on(self) -> None:
        self._go_on.set()


def zombie_and_heir(make_engine: Callable[[], Engine], fake: FakeExecutor) -> tuple[Task, list[Violation]]:
    """A is stopped with the outcome in its hands, loses its lock, and goes on while B runs the task again."""
    workspace = make_workspace()
    task = make_task(workspace)
    first, second = make_engine(), make_engine()
    stopped = Stop("engine.executed")
    zombie = serving("a", first, workspace.wsid)
    stopped.wait_reached()

    terminate_backend(run_holders([workspace.wsid])[workspace.wsid])
    eventually(lambda: not run_holders([workspace.wsid]), "the lock to be free")
    serving("b", second, workspace.wsid).result()
    wait_status(task, Status.FAILED)
    make_due(task)
    probing = Gate()
    fake.on_probe.append(probing)
    heir = serving("b", second, workspace.wsid)
    probing.wait_entered()
    assert status_of(task) is Status.RUNNING

    stopped.go_on()
    zombie.result()
    while_the_heir_ran = status_of(task)
    probing.open()
    heir.result()
    assert while_the_heir_ran is (Status.RUNNING if _has_fence_clause() else Status.SUCCEEDED)
    return fresh(task), check(None, settled=True, history=True)


def _has_fence_clause() -> bool:
    return settlement._settle_once is WITH_FENCE


WITH_FENCE = settlement._settle_once


@transaction.atomic
def _settle_without_fence(task: Task, decide: Callable[[Task], None]) -> bool:
    """As it must not be."""
    hold_state(task.workspace_id)
    row = Task.objects.select_for_update().filter(pk=task.pk, status=Status.RUNNING).first()
    if row is None:
        return False
    decide(row)
    return True


def test_with_the_fence_clause_a_zombie_changes_nothing(
    make_engine: Callable[[], Engine], fake: FakeExecutor, recorded: None
) -> None:
    task, violations = zombie_and_heir(make_engine, fake)
    assert task.state is Status.SUCCEEDED
    assert violations == []


def test_without_it_the_checker_finds_who_ended_the_run(
    make_engine: Callable[[], Engine], fake: FakeExecutor, recorded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "_settle_once", _settle_without_fence)
    task, violations = zombie_and_heir(make_engine, fake)
    (violation,) = violations
    assert (violation.invariant, violation.wsid) == ("I8", task.workspace_id)
    assert f"{task.task_id}: the run with fence {task.fence} was begun by" in violation.detail
    assert violation.detail.endswith("and ended as SUCCEEDED by a")

"""A workspace at rest: nobody works in it, nobody begins, and whoever came meanwhile is rung for (SPEC §6)."""

from __future__ import annotations

import pytest

from tasks.engine import Engine
from tasks.locks import GuardPool
from tasks.states import Status
from tasks.upkeep import at_rest
from tests.engine.world import Held, guard_backends, lost, status_of
from tests.factories import from_now, make_task, make_workspace, next_fence
from tests.fakes import FakeExecutor

pytestmark = pytest.mark.rule("SPEC §7")


def test_a_workspace_in_which_a_task_runs_is_not_at_rest(engine: Engine, fake: FakeExecutor, guards: GuardPool) -> None:
    task = make_task(make_workspace())
    held = Held(engine, fake, task)
    with at_rest(task.workspace_id, guards) as rest:
        assert rest is None
    held.end()
    assert status_of(task) is Status.SUCCEEDED


def test_a_lost_task_must_be_rescued_before_anybody_looks_at_the_disk(guards: GuardPool) -> None:
    task = lost(make_workspace())
    with at_rest(task.workspace_id, guards) as rest:
        assert rest is None
    assert guard_backends() == []


def test_its_fence_is_higher_than_every_one_before_and_lower_than_every_one_after(guards: GuardPool) -> None:
    before = next_fence()
    with at_rest(make_workspace().wsid, guards) as rest:
        assert rest is not None
        assert before < rest.fence < next_fence()


def test_no_task_begins_meanwhile_and_what_came_is_rung_for_at_the_end(
    engine: Engine, fake: FakeExecutor, guards: GuardPool, bells: list[str]
) -> None:
    workspace = make_workspace()
    with at_rest(workspace.wsid, guards) as rest:
        assert rest is not None
        task = make_task(workspace)
        engine.serve(workspace.wsid)
        assert (status_of(task), fake.executed, bells) == (Status.PENDING, [], [])
    assert bells == [workspace.wsid]
    engine.serve(workspace.wsid)
    assert status_of(task) is Status.SUCCEEDED


def test_it_rings_although_the_upkeep_failed(guards: GuardPool, bells: list[str]) -> None:
    workspace = make_workspace()

    def fail() -> None:
        with at_rest(workspace.wsid, guards):
            make_task(workspace)
            raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        fail()
    assert (bells, guard_backends()) == ([workspace.wsid], [])


def test_a_retry_that_is_not_due_is_not_rung_for(guards: GuardPool, bells: list[str]) -> None:
    workspace = make_workspace()
    make_task(workspace, status=Status.FAILED, next_run_at=from_now(3600))
    with at_rest(workspace.wsid, guards) as rest:
        assert rest is not None
    assert bells == []

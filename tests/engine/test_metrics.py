"""What the engine counts is what has happened, no more and no less (SPEC §11)."""

from __future__ import annotations

import pytest
from django.db import transaction
from prometheus_client import REGISTRY

from tasks.engine import Engine
from tasks.models import Op
from tasks.services import cancel_task
from tasks.states import FINISHED, Status
from tests.factories import ACTOR, make_task, make_workspace

pytestmark = [pytest.mark.rule("§11"), pytest.mark.django_db(transaction=True)]


def ended(op: str, status: Status) -> float:
    value = REGISTRY.get_sample_value("wvs_task_total", {"op": op, "status": status.value})
    assert value is not None
    return value


def test_every_series_is_there_from_the_start() -> None:
    for op in Op.values:
        for status in FINISHED:
            assert ended(op, status) >= 0


def test_an_end_is_counted_once_it_is_committed() -> None:
    task = make_task(make_workspace())
    before = ended(task.op, Status.CANCELED)
    with transaction.atomic():
        cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1")
        assert ended(task.op, Status.CANCELED) == before
    assert ended(task.op, Status.CANCELED) == before + 1


def test_what_is_rolled_back_is_not_counted() -> None:
    task = make_task(make_workspace())
    before = ended(task.op, Status.CANCELED)
    with transaction.atomic():
        cancel_task(task_id=task.task_id, actor=ACTOR, request_id="req-1")
        transaction.set_rollback(True)
    assert ended(task.op, Status.CANCELED) == before


def test_a_run_that_succeeds_is_counted_by_its_operation(engine: Engine) -> None:
    task = make_task(make_workspace())
    before = ended(task.op, Status.SUCCEEDED), ended(Op.SET_CURRENT, Status.SUCCEEDED)
    engine.serve(task.workspace_id)
    assert (ended(task.op, Status.SUCCEEDED), ended(Op.SET_CURRENT, Status.SUCCEEDED)) == (before[0] + 1, before[1])

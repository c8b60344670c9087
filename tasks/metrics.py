"""What the engine counts (SPEC §11, docs/metrics.md), where it happens and once it is committed.

What is counted here is shown by every process of the control plane: the sum over the processes is the truth.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

from django.db import transaction
from prometheus_client import Counter, Histogram

from tasks.states import FINISHED, Status

if TYPE_CHECKING:
    from tasks.models import Task

# A task's own time runs from milliseconds to its retries' end, hours later.
_TIMES: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
_WAITS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_LOCKS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Rescue(StrEnum):
    """Why a RUNNING task was taken from its worker."""

    WORKER_LOST = "worker_lost"
    WORKER_HUNG = "worker_hung"


TASKS: Final = Counter("wvs_task_total", "Tasks that ended, by how.", ["op", "status"])
DURATION: Final = Histogram(
    "wvs_task_duration_seconds", "Of a task, from accepted to finished.", ["op"], buckets=_TIMES
)
WAIT: Final = Histogram("wvs_task_wait_seconds", "Of an attempt, from due to started.", ["op"], buckets=_WAITS)
RETRIES: Final = Counter("wvs_task_retry_total", "Attempts that ended so that the task is tried again.", ["op"])
RESCUED: Final = Counter("wvs_task_rescued_total", "RUNNING tasks taken from a worker that was lost.", ["reason"])
LOCK_WAIT: Final = Histogram(
    "wvs_lock_wait_seconds", "From asking for a workspace's locks to having both.", buckets=_LOCKS
)
EMPTY: Final = Counter("wvs_dequeue_empty_total", "Bells answered for nothing.")


def initialise(ops: Iterable[str]) -> None:
    """Every series is there from the start: 0 is a value, a missing one is a question."""
    for op in ops:
        for status in FINISHED:
            TASKS.labels(op=op, status=status.value)
        for metric in (DURATION, WAIT, RETRIES):
            metric.labels(op=op)
    for reason in Rescue:
        RESCUED.labels(reason=reason.value)


def moved_on_commit(task: Task, *, tried_again: bool = True) -> None:
    """The task has just got its status. Not `tried_again`: FAILED only because its worker has to go."""
    transaction.on_commit(partial(_moved, task.op, task.state, task.age, task.overdue, tried_again))


def rescued_on_commit(reason: Rescue) -> None:
    """A task was taken from its worker."""
    transaction.on_commit(RESCUED.labels(reason=reason.value).inc)


def _moved(op: str, to: Status, age: timedelta | None, overdue: timedelta | None, tried_again: bool) -> None:
    if to.is_finished:
        TASKS.labels(op=op, status=to.value).inc()
        if age is not None:
            DURATION.labels(op=op).observe(age.total_seconds())
    elif to is Status.RUNNING and overdue is not None:
        WAIT.labels(op=op).observe(max(overdue.total_seconds(), 0.0))
    elif to is Status.FAILED and tried_again:
        RETRIES.labels(op=op).inc()

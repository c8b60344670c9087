"""What is compared: the rows, and what the model says of them."""

from __future__ import annotations

from typing import Any, Final

from django.db import connection

from snapshots.models import Snapshot
from tests.model.state import ModelTask, ModelWorkspace
from workspaces.models import Workspace

Row = dict[str, Any]


def workspace_row(wsid: str) -> Row:
    """As PostgreSQL has it."""
    row = Workspace.objects.get(pk=wsid)
    return {
        "state": row.state,
        "before": row.state_before_disable,
        "current": row.current_snapshot_id,
        "live_id": row.current_live_id,
        "snapshots": {one.pk: one.deleted_by for one in Snapshot.objects.of_workspace(wsid)},
    }


def expected_workspace(model: ModelWorkspace) -> Row:
    """As the model says."""
    return {name: getattr(model, name) for name in ("state", "before", "current", "live_id", "snapshots")}


_TASKS: Final = """
SELECT task_id, op, status, attempt, outcome_unknown, cancel_requested, error ->> 'reason',
       CASE WHEN status IN ('PENDING', 'FAILED') THEN next_run_at <= clock_timestamp() END, fence
FROM tasks WHERE wsid = %s ORDER BY seq
"""


def task_rows(wsid: str) -> list[tuple[Any, ...]]:
    """In order of seq: what the model says of each task, and then its fence."""
    with connection.cursor() as cursor:
        cursor.execute(_TASKS, [wsid])
        return list(cursor.fetchall())


def expected_task(task: ModelTask) -> tuple[Any, ...]:
    """As the model says, without the fence, of which it knows only when it rises."""
    due = task.due if task.status in ("PENDING", "FAILED") else None
    return (task.task_id, task.op, task.status, task.attempt, task.unknown, task.cancel_requested, task.reason, due)


class Fences:
    """What the fences of the rows have been: the model knows when one rises, and no number."""

    def __init__(self) -> None:
        self._claims: dict[str, tuple[int, int | None]] = {}
        self._highest = 0

    def begin(self) -> None:
        """What rises from now on, rises above all there are."""
        self._highest = max((fence or 0 for _, fence in self._claims.values()), default=0)

    def compare(self, task: ModelTask, fence: int | None) -> None:
        """It has risen if the task was claimed since, and only then (I4)."""
        claims, before = self._claims.get(task.task_id, (0, None))
        if task.claims == claims:
            assert fence == before
            return
        assert fence is not None
        assert fence > self._highest
        self._claims[task.task_id] = (task.claims, fence)

"""The head of every busy workspace, as the scheduler sees it (SPEC §6): one statement, however many tasks wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db import connection

from tasks import story

# Steps from workspace to workspace through the index tasks_live_by_seq, so the cost follows the number of busy
# workspaces and not the number of waiting tasks.
HEADS: Final = """
WITH RECURSIVE busy(wsid) AS (
    (SELECT wsid FROM tasks WHERE status IN ('PENDING', 'RUNNING', 'FAILED') ORDER BY wsid LIMIT 1)
  UNION ALL
    SELECT (SELECT t.wsid FROM tasks t WHERE t.status IN ('PENDING', 'RUNNING', 'FAILED') AND t.wsid > busy.wsid
            ORDER BY t.wsid LIMIT 1)
    FROM busy WHERE busy.wsid IS NOT NULL
)
SELECT head.task_id, head.wsid, head.status, head.fence,
       EXTRACT(EPOCH FROM head.next_run_at - clock_timestamp())::float8,
       head.status = 'FAILED',
       head.request_id, head.op, head.attempt, head.traceparent,
       COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - head.started_at)::float8 - head.timeout_seconds, 0)
FROM busy CROSS JOIN LATERAL (
    SELECT * FROM tasks t WHERE t.wsid = busy.wsid AND t.status IN ('PENDING', 'RUNNING', 'FAILED')
    ORDER BY t.seq LIMIT 1
) head
"""


@dataclass(frozen=True, slots=True)
class Head:
    """The oldest live task of a workspace. `due_in` is seconds, negative when it is overdue."""

    task_id: str
    wsid: str
    status: str
    fence: int | None
    due_in: float
    begun_before: bool
    request_id: str
    op: str
    attempt: int
    traceparent: str
    past_deadline: float
    """Seconds since its worker should have stopped it; means something of a RUNNING one only."""

    @property
    def run(self) -> tuple[str, int | None]:
        """Which run of which task it is."""
        return self.task_id, self.fence

    @property
    def about(self) -> dict[str, object]:
        """For the log."""
        return story.fields(
            request_id=self.request_id,
            task_id=self.task_id,
            wsid=self.wsid,
            op=self.op,
            attempt=self.attempt,
            traceparent=self.traceparent,
        )


def heads() -> list[Head]:
    """Of every workspace that has a live task. One statement."""
    with connection.cursor() as cursor:
        cursor.execute(HEADS)
        return [Head(*row) for row in cursor.fetchall()]

"""I1, I3–I8 and I11 as the tables show them now. What was before may be gone.

PostgreSQL refuses most of this by itself; these queries ask what is so, not whether it was allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from snapshots.invariants.violation import Violation, broken
from snapshots.repair import ACTION
from tasks.states import LIVE

_LIVE: Final = [status.value for status in LIVE]


def i1_one_running() -> Iterator[Violation]:
    """At most one RUNNING task in a workspace, now."""
    yield from broken(
        "I1",
        """SELECT wsid, concat(count(*), ' RUNNING: ', string_agg(task_id, ', ' ORDER BY seq))
        FROM tasks WHERE status = 'RUNNING' GROUP BY wsid HAVING count(*) > 1""",
    )


def i3_in_order() -> Iterator[Violation]:
    """Tasks of a workspace were started in the order of seq: none before an earlier one's last start, or its end.

    Sees the last start of each task only, and by PostgreSQL's clock, which must not have been set back.
    """
    yield from broken(
        "I3",
        """SELECT wsid, concat(task_id, ' (seq ', seq, ') started at ', started_at, ', an earlier one at ', before)
        FROM (SELECT *, max(started_at) OVER (PARTITION BY wsid ORDER BY seq
                                              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
              FROM tasks WHERE started_at IS NOT NULL) t
        WHERE started_at < before""",
    )
    yield from broken(
        "I3",
        """SELECT wsid, concat(task_id, ' (seq ', seq, ') is ', status, ' and a later one has been started')
        FROM tasks t WHERE status = ANY(%s) AND EXISTS (
            SELECT 1 FROM tasks later WHERE later.wsid = t.wsid AND later.seq > t.seq AND later.started_at IS NOT NULL)
        """,
        _LIVE,
    )


def i4_attempts_and_fences() -> Iterator[Violation]:
    """attempt ≤ max_attempts; in a workspace the fences rise with seq, and none is beyond the sequence.

    Sees the last fence of each task only.
    """
    yield from broken(
        "I4",
        """SELECT wsid, concat(task_id, ': attempt ', attempt, ' of ', max_attempts)
        FROM tasks WHERE attempt NOT BETWEEN 0 AND max_attempts""",
    )
    yield from broken(
        "I4",
        """SELECT wsid, concat(task_id, ' has fence ', fence, ', an earlier task ', before)
        FROM (SELECT *, max(fence) OVER (PARTITION BY wsid ORDER BY seq
                                         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
              FROM tasks WHERE fence IS NOT NULL) t
        WHERE fence <= before""",
    )
    yield from broken(
        "I4",
        """SELECT wsid, concat(task_id, ' has fence ', fence, ', the sequence stands at ', last_value)
        FROM tasks, task_fence WHERE fence > last_value""",
    )


def i5_succeeded_creates_have_rows() -> Iterator[Violation]:
    """A snapshot_create that SUCCEEDED has a snapshot row, kept or dropped. The disk is another check's."""
    yield from broken(
        "I5",
        """SELECT wsid, concat(task_id, ' SUCCEEDED and ', snapshot_id, ' has no row') FROM tasks t
        WHERE op = 'snapshot_create' AND status = 'SUCCEEDED'
        AND NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.snapshot_id = t.snapshot_id AND s.wsid = t.wsid)""",
    )


def i6_references() -> Iterator[Violation]:
    """No snapshot is current, or named by a live set_current, and dropped, missing or another workspace's."""
    yield from broken(
        "I6",
        """SELECT w.wsid, concat('current is ', w.current_snapshot_id, ', which is not kept here') FROM workspaces w
        WHERE w.current_snapshot_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM snapshots s
            WHERE s.snapshot_id = w.current_snapshot_id AND s.wsid = w.wsid AND s.deleted_at IS NULL)""",
    )
    yield from broken(
        "I6",
        """SELECT t.wsid, concat(t.task_id, ' is ', t.status, ' and needs ', t.snapshot_id, ', which is not kept here')
        FROM tasks t WHERE t.op = 'set_current' AND t.status = ANY(%s) AND NOT EXISTS (SELECT 1 FROM snapshots s
            WHERE s.snapshot_id = t.snapshot_id AND s.wsid = t.wsid AND s.deleted_at IS NULL)""",
        _LIVE,
    )


def i7_nothing_is_stuck() -> Iterator[Violation]:
    """A workspace that is PROVISIONING has a live init_workspace that will end that (G19)."""
    yield from broken(
        "I7",
        """SELECT w.wsid, 'PROVISIONING, and no task is about to end that' FROM workspaces w
        WHERE w.state = 'PROVISIONING' AND NOT EXISTS (SELECT 1 FROM tasks t
            WHERE t.wsid = w.wsid AND t.op = 'init_workspace' AND t.status = ANY(%s))""",
        _LIVE,
    )


def i7_all_are_finished() -> Iterator[Violation]:
    """No live task is left: only where faults have stopped and everything had its time."""
    yield from broken(
        "I7",
        """SELECT wsid, concat(task_id, ' is still ', status, ': attempt ', attempt, ' of ', max_attempts,
            CASE WHEN outcome_unknown THEN ', outcome unknown' END, ', error ', coalesce(error ->> 'reason', 'none'))
        FROM tasks WHERE status = ANY(%s)""",
        _LIVE,
    )


def i8_rows_of_success_only() -> Iterator[Violation]:
    """Each snapshot row was written by a task that SUCCEEDED, or read back from the disk by `wvs_index --fix`."""
    yield from broken(
        "I8",
        """SELECT s.wsid, concat(s.snapshot_id, ' has a row, and ', t.task_id, ', which made it, is ', t.status)
        FROM snapshots s JOIN tasks t ON t.task_id = s.created_by WHERE t.status <> 'SUCCEEDED'
        AND NOT EXISTS (SELECT 1 FROM audit a WHERE a.action = %s AND a.wsid = s.wsid
                        AND a.payload -> 'after' ? s.snapshot_id)""",
        ACTION,
    )


def i8_pointer_of_the_last_switch() -> Iterator[Violation]:
    """The pointer is as the last switch left it that SUCCEEDED, or as `wvs_index --fix` read it from the symlink.

    Does not see a zombie that wrote just what the attempt after it would have written: see the history.
    """
    yield from broken(
        "I8",
        """SELECT w.wsid, concat('current_path is the tree of ', t.task_id, ', which is ', t.status)
        FROM workspaces w JOIN tasks t
        ON t.wsid = w.wsid AND w.current_path = w.root_path || '/live/live-' || substr(t.task_id, 6)
        WHERE t.status <> 'SUCCEEDED'
        AND NOT EXISTS (SELECT 1 FROM audit a WHERE a.action = %s AND a.wsid = w.wsid
                        AND a.payload -> 'after' ? 'current')""",
        ACTION,
    )
    yield from broken(
        "I8",
        """WITH last AS (
            SELECT DISTINCT ON (wsid) wsid, op, task_id, snapshot_id FROM tasks
            WHERE status = 'SUCCEEDED' AND op IN ('set_current', 'init_workspace')
            AND NOT coalesce((result ->> 'noop')::bool, false) ORDER BY wsid, seq DESC)
        SELECT wsid, concat('the pointer is ', w.current_path, ' of ', coalesce(w.current_snapshot_id, 'no snapshot'),
                            ', and the last switch was ', last.task_id, ' to ', last.snapshot_id)
        FROM workspaces w JOIN last USING (wsid)
        WHERE last.op = 'set_current' AND w.current_path IS NOT NULL
        AND (w.current_path, w.current_snapshot_id) IS DISTINCT FROM
            (w.root_path || '/live/live-' || substr(last.task_id, 6), last.snapshot_id)
        AND NOT EXISTS (SELECT 1 FROM audit a WHERE a.action = %s AND a.wsid = w.wsid
                        AND a.payload -> 'after' ? 'current')""",
        ACTION,
    )


def i11_one_row_for_a_key() -> Iterator[Violation]:
    """One task for (wsid, op, idempotency key)."""
    yield from broken(
        "I11",
        """SELECT wsid, concat(count(*), ' tasks for key ', idempotency_key, ': ', string_agg(task_id, ', '))
        FROM tasks GROUP BY wsid, op, idempotency_key HAVING count(*) > 1""",
    )

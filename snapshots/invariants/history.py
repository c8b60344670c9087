"""I2, I3, I4, I8 and I9 over every change of every task: where the table task_history is (tests/chaos/history.py).

Changes of one task are in the order of their ids, since each of them holds its row; so are those of the tasks of one
workspace that begin or end a run, since they hold STATE.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.db import connection

from snapshots.invariants.violation import Violation, broken
from tasks.states import FINISHED, TRANSITIONS


def has_history() -> bool:
    """Whether somebody records it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('task_history') IS NOT NULL")
        return bool(cursor.fetchone()[0])


def i2_legal_transitions() -> Iterator[Violation]:
    """Every task began PENDING, moved along the table of SPEC §6 only, and no move is missing from the history."""
    yield from broken(
        "I2",
        """SELECT wsid, concat(task_id, ' went from ', coalesce(old_status, 'nothing'), ' to ', new_status)
        FROM task_history WHERE CASE WHEN old_status IS NULL THEN new_status <> 'PENDING'
            ELSE old_status <> new_status AND NOT old_status || ':' || new_status = ANY(%s) END ORDER BY id""",
        [f"{old.value}:{new.value}" for old, new in TRANSITIONS],
    )
    yield from broken(
        "I2",
        """SELECT wsid, concat(task_id, ' was ', was, ', and then moved from ', old_status, ' to ', new_status)
        FROM (SELECT *, lag(new_status) OVER (PARTITION BY task_id ORDER BY id) AS was FROM task_history) h
        WHERE was IS NOT NULL AND was IS DISTINCT FROM old_status ORDER BY id""",
    )


def i3_starts_in_order() -> Iterator[Violation]:
    """No task of a workspace was started, or started again, before every one with a lower seq had ended."""
    yield from broken(
        "I3",
        """WITH lives AS (SELECT wsid, task_id, seq, min(id) AS begun,
                              min(id) FILTER (WHERE new_status = ANY(%s)) AS over
                       FROM task_history GROUP BY wsid, task_id, seq)
        SELECT h.wsid, concat(h.task_id, ' (seq ', h.seq, ') was started before ', earlier.task_id, ' (seq ',
                              earlier.seq, ') had ended')
        FROM task_history h JOIN lives earlier ON earlier.wsid = h.wsid AND earlier.seq < h.seq
            AND earlier.begun < h.id AND coalesce(earlier.over > h.id, true)
        WHERE h.new_status = 'RUNNING' AND h.old_status IS DISTINCT FROM 'RUNNING' ORDER BY h.id""",
        [status.value for status in FINISHED],
    )


def i4_fences_rise() -> Iterator[Violation]:
    """Each claim in a workspace has a higher fence than all before. Attempts rise by one, and are given back by one."""
    yield from broken(
        "I4",
        """SELECT wsid, concat(task_id, ' was claimed with fence ', fence, ' after ', before)
        FROM (SELECT *, max(fence) OVER (PARTITION BY wsid ORDER BY id
                                         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
              FROM task_history WHERE new_status = 'RUNNING' AND old_status IS DISTINCT FROM 'RUNNING') h
        WHERE fence IS NULL OR fence <= before ORDER BY id""",
    )
    yield from broken(
        "I4",
        """SELECT wsid, concat(task_id, ' went from attempt ', was, ' to ', attempt)
        FROM (SELECT *, lag(attempt) OVER (PARTITION BY task_id ORDER BY id) AS was FROM task_history) h
        WHERE abs(attempt - was) > 1 ORDER BY id""",
    )


def i8_nothing_after_the_end() -> Iterator[Violation]:
    """A finished task is never written to again, a run ends once, and the fence changes with a claim only."""
    yield from broken(
        "I8",
        """SELECT wsid, concat(task_id, ' was ', old_status, ', and was written to by server process ', pid)
        FROM task_history WHERE old_status = ANY(%s) ORDER BY id""",
        [status.value for status in FINISHED],
    )
    yield from broken(
        "I8",
        """SELECT wsid, concat(task_id, ': the run with fence ', fence, ' ended ', count(*), ' times')
        FROM task_history WHERE old_status = 'RUNNING' AND new_status <> 'RUNNING'
        GROUP BY wsid, task_id, fence HAVING count(*) > 1""",
    )
    yield from broken(
        "I8",
        """SELECT wsid, concat(task_id, ': fence ', coalesce(old_fence::text, 'none'), ' became ', fence,
                               ' without a claim')
        FROM task_history WHERE old_status IS NOT NULL AND old_fence IS DISTINCT FROM fence
        AND (new_status <> 'RUNNING' OR old_status = 'RUNNING') ORDER BY id""",
    )


# Who made a change is known where any change over the same server process was signed by an audit row. Where it is not,
# a server process that ends a run which another one began, after it had begun an earlier run of the same task, is the
# earlier run's worker: a worker's thread keeps its connection for as long as it serves.
_ENDED_BY_ANOTHER: Final = """
WITH signed AS (SELECT DISTINCT ON (pid, backend_start) pid, backend_start, process FROM task_history
                WHERE process IS NOT NULL ORDER BY pid, backend_start, id),
     whole AS (SELECT h.*, coalesce(h.process, s.process) AS who FROM task_history h
               LEFT JOIN signed s USING (pid, backend_start)),
     began AS (SELECT * FROM whole WHERE new_status = 'RUNNING' AND old_status IS DISTINCT FROM 'RUNNING'),
     ended AS (SELECT * FROM whole WHERE old_status = 'RUNNING' AND new_status <> 'RUNNING'
               AND action IS DISTINCT FROM 'task.rescue')
SELECT e.wsid, concat(e.task_id, ': the run with fence ', e.fence, ' was begun by ',
                      coalesce(b.who, 'server process ' || b.pid), ' and ended as ', e.new_status, ' by ',
                      coalesce(e.who, 'server process ' || e.pid))
FROM ended e JOIN began b ON b.task_id = e.task_id AND b.fence = e.fence
WHERE (b.pid, b.backend_start) IS DISTINCT FROM (e.pid, e.backend_start)
  AND CASE WHEN b.who IS NOT NULL AND e.who IS NOT NULL THEN b.who <> e.who
      ELSE EXISTS (SELECT 1 FROM began earlier WHERE earlier.task_id = e.task_id AND earlier.fence < e.fence
                   AND (earlier.pid, earlier.backend_start) = (e.pid, e.backend_start)) END
ORDER BY e.id
"""


def i8_runs_end_where_they_began() -> Iterator[Violation]:
    """Only the process that claimed a run ends it, or whoever rescues it: else a zombie has forgotten its fence.

    Does not see two runs of one task in the same process mixed up, nor a stranger whose server process never had
    anything to do with that task and signed nothing.
    """
    yield from broken("I8", _ENDED_BY_ANOTHER)


def i9_no_two_at_once() -> Iterator[Violation]:
    """No two runs of one workspace overlap as far as the rows tell: I1 over time, not the executor's own intervals."""
    yield from broken(
        "I9",
        """SELECT wsid, concat(task_id, ' was begun while ', running - 1, ' others were RUNNING')
        FROM (SELECT *, sum(CASE WHEN new_status = 'RUNNING' AND old_status IS DISTINCT FROM 'RUNNING' THEN 1
                                 WHEN old_status = 'RUNNING' AND new_status <> 'RUNNING' THEN -1 ELSE 0 END)
                        OVER (PARTITION BY wsid ORDER BY id) AS running FROM task_history) h
        WHERE new_status = 'RUNNING' AND old_status IS DISTINCT FROM 'RUNNING' AND running > 1 ORDER BY id""",
    )

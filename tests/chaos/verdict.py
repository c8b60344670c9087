"""The verdict on a database and a volume after the faults: the checker of invariants, and what only a client knows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from tests.chaos.fleet import LIVE, Fleet

_SQL: Final = {
    "I1: two RUNNING at once in a workspace": """
        SELECT a.wsid, a.id FROM wvs.task_history a JOIN wvs.task_history b USING (wsid)
        WHERE a.new_status = 'RUNNING' AND b.new_status = 'RUNNING' AND a.old_status <> 'RUNNING'
          AND b.task_id <> a.task_id AND b.id < a.id
          AND NOT EXISTS (SELECT FROM wvs.task_history c WHERE c.task_id = b.task_id AND c.id > b.id AND c.id < a.id
                          AND c.new_status <> 'RUNNING')""",
    "I3: begun before one that came earlier was finished": f"""
        SELECT later.task_id, earlier.task_id FROM wvs.task_history later JOIN wvs.task_history earlier USING (wsid)
        WHERE later.new_status = 'RUNNING' AND earlier.old_status IS NULL AND earlier.seq < later.seq
          AND (SELECT last.new_status FROM wvs.task_history last WHERE last.task_id = earlier.task_id
               AND last.id < later.id ORDER BY last.id DESC LIMIT 1) IN {LIVE}""",
    "I4: the attempt is above its maximum, or the fence fell": """
        SELECT task_id FROM wvs.tasks WHERE attempt > max_attempts
        UNION ALL SELECT task_id FROM wvs.task_history WHERE fence < old_fence""",
    "I6: dropped, and yet current or referred to": """
        SELECT s.snapshot_id FROM wvs.snapshots s JOIN wvs.workspaces w ON w.current_snapshot_id = s.snapshot_id
        WHERE s.deleted_at IS NOT NULL""",
    "I7: accepted and not finished": f"SELECT task_id, status FROM wvs.tasks WHERE status IN {LIVE}",
    "I8: moved by somebody who had not claimed it, nor rescued it": """
        SELECT h.task_id, h.id FROM wvs.task_history h
        WHERE h.old_status = 'RUNNING' AND h.new_status <> 'RUNNING' AND h.process IS NOT NULL
          AND h.action <> 'task.rescue' AND h.process <> (
              SELECT c.process FROM wvs.task_history c WHERE c.task_id = h.task_id AND c.id < h.id
              AND c.fence = h.fence AND c.new_status = 'RUNNING' AND c.process IS NOT NULL ORDER BY c.id LIMIT 1)""",
    "I11: one key, two rows": """
        SELECT wsid, op, idempotency_key FROM wvs.tasks GROUP BY 1, 2, 3 HAVING count(*) > 1""",
}


def violations(fleet: Fleet, accepted: Iterable[str]) -> list[str]:
    """Everything that is not as it must be, in words. Every task must be finished by now."""
    found = [f"{rule}: {row}" for rule, statement in _SQL.items() for row in fleet.query(statement)]
    known = {row[0] for row in fleet.query("SELECT task_id FROM wvs.tasks")}
    found += [f"I7: {task_id} was accepted and is nowhere" for task_id in accepted if task_id not in known]
    return found + _pointers(fleet) + checker(fleet)


def _pointers(fleet: Fleet) -> list[str]:
    """I12: the symlink is what the row says."""
    found = []
    for wsid, path in fleet.query("SELECT wsid, current_path FROM wvs.workspaces WHERE current_path IS NOT NULL"):
        link = (fleet.base.ws / wsid / "current").readlink()
        if path != f"/ws/{wsid}/{link}":
            found.append(f"I12: {wsid} points to {link}, its row says {path}")
    return found


def checker(fleet: Fleet) -> list[str]:
    """What `check_invariants` finds, run as its operator runs it."""
    done = fleet.manage("check_invariants", "--json", "--settled")
    if "Unknown command" in done.stderr:
        return []
    try:
        said = json.loads(done.stdout)
    except ValueError:
        return [f"check_invariants ended with {done.returncode}: {done.stderr[-2000:]}"]
    return [f"check_invariants: {json.dumps(violation)}" for violation in said["violations"]]

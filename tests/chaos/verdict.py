"""The verdict on a database and a volume after the faults: the checker of invariants, and what it cannot know."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tests.chaos.fleet import Fleet


def violations(fleet: Fleet, accepted: Iterable[str]) -> list[str]:
    """Everything that is not as it must be, in words. Every task must be finished by now."""
    known = {row[0] for row in fleet.query("SELECT task_id FROM wvs.tasks")}
    lost = [f"I7: {task_id} was accepted and is nowhere" for task_id in accepted if task_id not in known]
    return lost + _pointers(fleet) + checker(fleet)


def _pointers(fleet: Fleet) -> list[str]:
    """I12 as agents see it, on their mount: the checker asks executors, who may have others."""
    found = []
    for wsid, path in fleet.query("SELECT wsid, current_path FROM wvs.workspaces WHERE current_path IS NOT NULL"):
        link = (fleet.base.ws / wsid / "current").readlink()
        if path != f"/ws/{wsid}/{link}":
            found.append(f"I12: {wsid} points to {link}, its row says {path}")
    return found


def checker(fleet: Fleet) -> list[str]:
    """What `check_invariants` finds, run as its operator runs it; what it could not see counts too."""
    done = fleet.manage("check_invariants", "--json", "--settled")
    try:
        said = json.loads(done.stdout)
    except ValueError:
        return [f"check_invariants ended with {done.returncode}: {done.stderr[-2000:]}"]
    found = [f"check_invariants: {json.dumps(violation)}" for violation in said["violations"]]
    return found + [f"check_invariants did not see {unseen}" for unseen in said["unseen"]]

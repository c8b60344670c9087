"""Fills WVS's queue through its own services: `prepare WORKSPACES`, or `submit WORKSPACES TASKS`; prints the wsids.

What it prepares exists in the rows alone, by an executor that does nothing.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Final

from snapshots.models import Snapshot
from snapshots.services import create_snapshot, set_current
from tasks.audit import Actor
from tasks.idempotency import IdempotencyToken
from tasks.models import Task
from workspaces.services import create_workspace

_ACTOR: Final = Actor("benchmark", "queue")
_PREFIX: Final = "queue-"
_LIMIT: Final = 300.0


def main(arguments: Sequence[str]) -> int:
    """Do what the first argument says."""
    workspaces = int(arguments[1])
    if arguments[0] == "prepare":
        prepare(workspaces)
    else:
        submit(workspaces, int(arguments[2]))
    return 0


def prepare(workspaces: int) -> None:
    """So many more workspaces, with a snapshot each. A worker runs meanwhile."""
    wsids = [f"{_PREFIX}{uuid.uuid4().hex[:12]}" for _ in range(workspaces)]
    for wsid in wsids:
        create_workspace(wsid=wsid, owner="benchmark", token=_token(), actor=_ACTOR)
    _drained()
    for wsid in wsids:
        create_snapshot(wsid=wsid, message="", token=_token(), actor=_ACTOR)
    _drained()


def submit(workspaces: int, tasks: int) -> None:
    """So many switches, in turn over so many workspaces. `fresh`: the executor is called, though they are there."""
    known = Snapshot.objects.filter(workspace__wsid__startswith=_PREFIX).order_by("workspace_id")[:workspaces]
    switches = [(snapshot.workspace_id, snapshot.snapshot_id) for snapshot in known]
    submitted = []
    for number in range(tasks):
        wsid, name = switches[number % len(switches)]
        write = set_current(wsid=wsid, snapshot_id=name, fresh=True, token=_token(), actor=_ACTOR)
        submitted.append(write.task.task_id)
    print(json.dumps(submitted))


def _drained() -> None:
    end = time.monotonic() + _LIMIT
    while Task.objects.live().exists():
        if time.monotonic() > end:
            raise TimeoutError(f"the queue is not empty within {_LIMIT:g} s")
        time.sleep(0.05)


def _token() -> IdempotencyToken:
    return IdempotencyToken(key=uuid.uuid4().hex, request_hash="", request_id=f"bench-{uuid.uuid4()}")

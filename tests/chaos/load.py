"""Workspaces to begin with, and a steady load of snapshots: each request is repeated with its key until answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

from tests.chaos.caller import Caller, Ledger
from tests.chaos.fleet import Fleet
from wvs_project.stack.errors import StackError
from wvs_project.stack.waiting import wait_until

_PAUSE: Final = 0.15
_INIT_SECONDS: Final = 60.0


def make_workspaces(fleet: Fleet, wsids: Sequence[str]) -> None:
    """Ask for all of them, and wait until they are there. Raises StackError."""
    caller = Caller(fleet.api_url, Ledger(), threading.Event())
    try:
        asked = [caller.write("POST", "/workspaces", {"wsid": wsid, "owner": "chaos"}) for wsid in wsids]
    finally:
        caller.close()
    for said in asked:
        status = fleet.wait_ended(said["init_task_id"], _INIT_SECONDS)
        if status != "SUCCEEDED":
            raise StackError(f"{said['wsid']}: its init ended {status}")


@contextmanager
def loaded(fleet: Fleet, *, clients: int = 3) -> Iterator[Ledger]:
    """As many clients meanwhile, each on a workspace of its own; what they were told."""
    ledger, stopping = Ledger(), threading.Event()
    wsids = [f"load-{uuid4().hex[:8]}" for _ in range(clients)]
    make_workspaces(fleet, wsids)
    threads = [threading.Thread(target=_post, args=(fleet, ledger, stopping, wsid), daemon=True) for wsid in wsids]
    for thread in threads:
        thread.start()
    try:
        yield ledger
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def wait_posts(ledger: Ledger, count: int) -> None:
    """Until so many more were accepted."""
    until = ledger.posts + count
    wait_until(lambda: ledger.posts >= until, limit=_INIT_SECONDS, what=f"{count} accepted requests")


def _post(fleet: Fleet, ledger: Ledger, stopping: threading.Event, wsid: str) -> None:
    caller = Caller(fleet.api_url, ledger, threading.Event())
    while not stopping.wait(_PAUSE):
        caller.write("POST", f"/workspaces/{wsid}/snapshots", {})
    caller.close()

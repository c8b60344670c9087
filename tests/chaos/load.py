"""A steady load of snapshots for the scripted runs: each request is repeated with its key until it is answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

from tests.chaos.caller import Caller, Ledger
from tests.chaos.fleet import Fleet
from wvs_project.stack.waiting import wait_until

_PAUSE: Final = 0.15
_INIT_SECONDS: Final = 60.0


@contextmanager
def loaded(fleet: Fleet, *, clients: int = 3) -> Iterator[Ledger]:
    """As many clients meanwhile, each on a workspace of its own; what they were told."""
    ledger, stopping = Ledger(), threading.Event()
    wsids = [f"load-{uuid4().hex[:8]}" for _ in range(clients)]
    for wsid in wsids:
        _make(fleet, ledger, wsid)
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


def _make(fleet: Fleet, ledger: Ledger, wsid: str) -> None:
    caller = Caller(fleet.api_url, ledger, threading.Event())
    caller.write("POST", "/workspaces", {"wsid": wsid, "owner": "load"})
    caller.close()

    def is_active() -> bool:
        return bool(fleet.query("SELECT 1 FROM wvs.workspaces WHERE wsid = %s AND state = 'ACTIVE'", wsid))

    wait_until(is_active, limit=_INIT_SECONDS, what=f"{wsid} to be active")


def _post(fleet: Fleet, ledger: Ledger, stopping: threading.Event, wsid: str) -> None:
    caller = Caller(fleet.api_url, ledger, threading.Event())
    while not stopping.wait(_PAUSE):
        caller.write("POST", f"/workspaces/{wsid}/snapshots", {})
    caller.close()

"""What one agent that hangs costs the others: the p99 of their snapshots, with it and without it, in turn.

Every workspace has a client that makes one snapshot after the other. The hung one's agent holds the agent lock and
never answers: its snapshots wait, fail, and are tried again, as the engine does it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.callers import Caller, require_alive, waited
from benchmarks.recovery import silent_agent
from benchmarks.rows import Row, Spread, at_most
from benchmarks.site import Site
from benchmarks.stack import Client
from benchmarks.trees import plant

_ALLOWED: Final = 1.2
_ENTRIES: Final = 30
_PULSE: Final = 0.01


def rows(site: Site) -> Iterator[Row]:
    """One row."""
    count, pause, window, rounds = site.size((50, 8.0, 60.0, 3), (3, 0.02, 0.1, 1))
    api = site.client()
    wsids = [api.workspace() for _ in range(count)]
    for wsid in wsids:
        plant(site.mount / wsid / "live" / "initial", _ENTRIES)
    hung, others = wsids[0], wsids[1:]
    over = threading.Event()
    callers = [Caller(site.environment["WVS_API_URL"], wsid, pause, over) for wsid in others]
    calm, disturbed = [], []
    for caller in callers:
        caller.start()
    try:
        time.sleep(pause * 2)  # each has begun
        for _ in range(rounds):
            calm += _window(callers, window)
            with hanging(site, api, hung):
                disturbed += _window(callers, window)
    finally:
        over.set()
        for caller in callers:
            caller.join()
    for wsid in wsids:
        api.clean_up(wsid)
    yield Row(
        f"snapshots of {count - 1} workspaces while the agent of one more hangs",
        "s",
        Spread.of(disturbed),
        "while none hangs",
        Spread.of(calm),
        compared="p99",
        must=at_most(ratio=_ALLOWED),
    )


def _window(callers: list[Caller], seconds: float) -> list[float]:
    """At least so many seconds, and until each has asked for something in it."""
    begin = time.monotonic()
    time.sleep(seconds)
    while any(caller.asked_at < begin for caller in callers):
        require_alive(callers)
        time.sleep(_PULSE)
    end = time.monotonic()
    # What was asked for within the window counts wholly: who waits longest must not be left out.
    for caller in callers:
        caller.settle(end)
    require_alive(callers)
    return waited(callers, begin, end)


@contextmanager
def hanging(site: Site, api: Client, wsid: str) -> Iterator[None]:
    """While inside, its agent hangs, and there is always a snapshot that waits for it."""
    with silent_agent(site.mount / wsid):
        tasks = [api.post(f"/v1/workspaces/{wsid}/snapshots")["task_id"] for _ in range(3)]
        try:
            yield
        finally:
            for task in tasks:
                api.http.post(f"/v1/tasks/{task}:cancel")
    for task in tasks:
        api.ended(task)

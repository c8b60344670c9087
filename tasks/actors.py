"""The Dramatiq actor: answers a bell."""

from __future__ import annotations

import dramatiq

from tasks.doorbell import ACTOR, MAX_AGE_MS, QUEUE
from tasks.engine import Engine

_engine: list[Engine] = []


def install(engine: Engine) -> None:
    """The engine that this process's actors use."""
    _engine[:] = [engine]


@dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, max_age=MAX_AGE_MS)
def serve_workspace(wsid: str) -> None:
    """Look whether the workspace has work. Never raises."""
    _engine[0].serve(wsid)

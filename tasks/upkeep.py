"""A workspace at rest: nobody runs a task in it, and nobody can begin one meanwhile (SPEC §6, §7).

For whoever looks at the disk and at the rows and must not mistake work in flight for drift: the sweeper, `wvs_index`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection

from tasks import doorbell
from tasks.locks import GuardPool
from tasks.models import Task
from tasks.querysets import FENCE_SEQUENCE
from tasks.states import Status


@dataclass(frozen=True, slots=True)
class Rest:
    """RUN(wsid) is held, no row of the workspace is RUNNING, and `fence` is higher than every attempt's before."""

    wsid: str
    fence: int


@contextmanager
def at_rest(wsid: str, guards: GuardPool) -> Iterator[Rest | None]:
    """Hold RUN(wsid) until the context ends. None: the workspace is busy, or its lost task waits for the rescue.

    Raises psycopg.OperationalError and Django's DatabaseError when PostgreSQL does not answer. Tasks that came
    meanwhile found RUN taken, and their bell was for nothing: at the end, after RUN was let go, it is looked for them.
    """
    guard = guards.acquire(wsid)
    if guard is None:
        yield None
        return
    try:
        yield None if _is_running(wsid) else Rest(wsid, _draw_fence())
    finally:
        guards.release(guard)
        if Task.objects.has_due_head(wsid):
            doorbell.ring(wsid)


def _is_running(wsid: str) -> bool:
    """Its worker is lost, since we hold RUN: only a probe can tell what lies on the disk."""
    return Task.objects.of_workspace(wsid).filter(status=Status.RUNNING).exists()


def _draw_fence() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(%s)", [FENCE_SEQUENCE])
        return int(cursor.fetchone()[0])

"""The bells (SPEC §6): hints that something may be worth looking at. Losing or doubling one costs time only.

NOTIFY is part of the transaction that rings it, so it is heard if and only if that transaction commits.
"""

from __future__ import annotations

from typing import Final

from django.db import connection

WORK_CHANNEL: Final = "wvs_task"
"""Payload: a wsid that may have work. Heard by the scheduler."""
CANCEL_CHANNEL: Final = "wvs_cancel"
"""Payload: a task_id whose cancel was requested while it runs. Heard by the workers' supervisors."""
FINISH_CHANNEL: Final = "wvs_finish"
"""Payload: a task_id that finished. Heard by the API processes, for `?wait=`."""


def _notify(channel: str, payload: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [channel, payload])


def announce_work(wsid: str) -> None:
    """Tell the scheduler, on commit, that the workspace may have work."""
    _notify(WORK_CHANNEL, wsid)


def announce_cancel(task_id: str) -> None:
    """Tell the workers, on commit, that a running task should stop."""
    _notify(CANCEL_CHANNEL, task_id)


def announce_finish(task_id: str) -> None:
    """Tell whoever waits for the task, on commit, that it is finished."""
    _notify(FINISH_CHANNEL, task_id)

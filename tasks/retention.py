"""How long finished tasks stay (SPEC §9, §11): as long as a client may repeat its request, and then they go.

The audit trail keeps what they did.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from django.db.models import Q, QuerySet

from tasks.days import count_days
from tasks.models import Task
from tasks.states import FINISHED
from wvs_project.db import ClockTimestamp

BATCH: Final = 1000
"""Rows deleted in one statement, so that none of them takes long."""


def old_tasks(*, retention: float, needed: Q) -> QuerySet[Task]:
    """Finished tasks that ended more than `retention` seconds ago and are not `needed`."""
    before = ClockTimestamp() - timedelta(seconds=retention)
    # By created_at too, which has an index and is never later than the end.
    return Task.objects.filter(created_at__lt=before, ended_at__lt=before, status__in=FINISHED).exclude(needed)


def delete_old_tasks(*, retention: float, needed: Q) -> Iterator[int]:
    """Delete them, a batch at a time; each batch is committed by itself. Yields how many it deleted.

    What they count for is noted first: `retention` is days, so the days they ended on are over.
    """
    count_days()
    old = old_tasks(retention=retention, needed=needed)
    while ids := list(old.order_by("created_at").values_list("pk", flat=True)[:BATCH]):
        deleted, _ = Task.objects.filter(pk__in=ids, status__in=FINISHED).delete()
        yield deleted

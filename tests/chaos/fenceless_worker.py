"""A worker whose settle has no fence clause: the mutant that shows what the clause is for (I8).

Run as `python -m tests.chaos.fenceless_worker` in place of `manage.py run_worker`.
"""

from __future__ import annotations

from collections.abc import Callable

import django

django.setup()

from django.core.management import call_command  # noqa: E402 — Django must be set up first
from django.db import transaction  # noqa: E402

from tasks import settlement  # noqa: E402
from tasks.locks import hold_state  # noqa: E402
from tasks.models import Task  # noqa: E402
from tasks.states import Status  # noqa: E402


@transaction.atomic
def settle_without_fence(task: Task, decide: Callable[[Task], None]) -> bool:
    """As settlement._settle_once, save that any RUNNING row of the task will do."""
    hold_state(task.workspace_id)
    row = Task.objects.select_for_update().filter(pk=task.pk, status=Status.RUNNING).first()
    if row is None:
        return False
    decide(row)
    return True


if __name__ == "__main__":
    settlement._settle_once = settle_without_fence
    call_command("run_worker")

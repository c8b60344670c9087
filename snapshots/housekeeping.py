"""Which finished tasks may go (SPEC §9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Concat, Substr

from tasks.models import Op, Task
from tasks.retention import delete_old_tasks, old_tasks
from workspaces.models import Workspace

# The switch to what is current now: only its task knows which snapshot that tree was made from.
_LIVE_PATH: Final = Concat(Value("/live/live-"), Substr(OuterRef("task_id"), len("task-") + 1))
_CURRENT: Final = Workspace.objects.filter(pk=OuterRef("workspace_id"), current_path__endswith=_LIVE_PATH)
NEEDED: Final = Q(op=Op.SET_CURRENT) & Q(Exists(_CURRENT))


def unneeded_tasks(*, retention: float) -> QuerySet[Task]:
    """Finished tasks that ended more than `retention` seconds ago, save those that tell what `current` is."""
    return old_tasks(retention=retention, needed=NEEDED)


def delete_unneeded_tasks(*, retention: float) -> Iterator[int]:
    """Delete them in batches; yields how many each deleted."""
    return delete_old_tasks(retention=retention, needed=NEEDED)

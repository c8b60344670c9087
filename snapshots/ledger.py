"""What the rows say of one workspace, as values for whoever compares them with the disk. Few statements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import QuerySet

from executor.upkeep import Inventory
from snapshots.index import maker_of
from snapshots.leftovers import Known
from snapshots.models import Snapshot
from tasks.models import Op, Task
from tasks.states import Status
from workspaces.models import Workspace


def known_of(wsid: str, found: Inventory) -> Known:
    """As far as it concerns what was found. The caller makes sure that it stands still, or does not mind."""
    path = Workspace.objects.filter(pk=wsid).values_list("current_path", flat=True).first()
    current = path.rpartition("/")[2] if path else None
    others = [name for name in found.live if name != current]
    deleted_by = _deleted_by(wsid, found)
    dropped = {name: by for name, by in deleted_by.items() if by is not None}
    return Known(
        current_live_id=current,
        live_tasks=_live_tasks(wsid) if others or dropped else frozenset(),
        makers=_makers(wsid, others),
        superseded=_superseded(wsid, others),
        kept_snapshots=frozenset(name for name, by in deleted_by.items() if by is None),
        dropped_snapshots=dropped,
    )


def _deleted_by(wsid: str, found: Inventory) -> dict[str, str | None]:
    """By the id of a snapshot that was found: the task that dropped it, None if it is kept."""
    names = [item.name for item in found.snapshots]
    if not names:
        return {}
    rows = Snapshot.objects.of_workspace(wsid).filter(pk__in=names).values_list("pk", "deleted_by")
    return dict(rows)


def _live_tasks(wsid: str) -> frozenset[str]:
    return frozenset(Task.objects.of_workspace(wsid).live().values_list("pk", flat=True))


def _switches(wsid: str) -> QuerySet[Task]:
    return Task.objects.of_workspace(wsid).filter(op=Op.SET_CURRENT)


def _makers(wsid: str, live: Sequence[str]) -> dict[str, str]:
    """By live id, the status of its task."""
    ids = {maker: name for name in live if (maker := maker_of(name)) is not None}
    if not ids:
        return {}
    return {ids[task_id]: status for task_id, status in _switches(wsid).filter(pk__in=ids).values_list("pk", "status")}


def _superseded(wsid: str, live: Sequence[str]) -> dict[str, datetime]:
    """By live id, when `current` was switched away from it: what the switch noted on the volume, by its clock."""
    paths = {f"{Workspace.root_for(wsid)}/live/{name}": name for name in live}
    if not paths:
        return {}
    done = _switches(wsid).filter(status=Status.SUCCEEDED, result__previous_path__in=list(paths))
    return {
        paths[result["previous_path"]]: _moment(result.get("switched_at"), at)
        for result, at in done.values_list("result", "ended_at")
        if result is not None and at is not None
    }


def _moment(noted: str | None, otherwise: datetime) -> datetime:
    return datetime.fromisoformat(noted) if noted else otherwise

"""What the rows say of workspaces, as values for `index.compare`: a few statements for many workspaces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeAlias

from django.db import connection, transaction
from django.db.models import Q

from executor.upkeep import Inventory
from snapshots.index import SnapshotRow, TaskRow, WorkspaceRows, maker_of
from snapshots.models import Snapshot
from tasks.models import Task
from tasks.states import LIVE, Status
from workspaces.models import Workspace

Found: TypeAlias = Mapping[str, Inventory | None]
"""By wsid, what was found on disk, with descriptors; None: nothing."""

_SNAPSHOT_FIELDS: Final = (
    "workspace_id", "pk", "entries", "bytes", "manifest_digest", "created_by", "deleted_by", "orphaned_at",
)  # fmt: skip


@contextmanager
def one_moment() -> Iterator[None]:
    """All statements of the context see the rows of one moment. It must be a transaction of its own."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def read_rows(found: Found) -> dict[str, WorkspaceRows]:
    """Of each workspace in `found`, as far as it concerns what was found. Three statements, whatever the number.

    The caller sees to it that they see one moment: by `one_moment`, or by holding STATE.
    """
    workspaces = dict(_workspaces(found))
    snapshots = _snapshots(found)
    tasks = _tasks(found, snapshots)
    return {
        wsid: WorkspaceRows(
            wsid=wsid,
            exists=wsid in workspaces,
            root_path=workspaces.get(wsid, ("", None))[0],
            current_path=workspaces.get(wsid, ("", None))[1],
            snapshots=snapshots.get(wsid, {}),
            tasks=tasks.get(wsid, {}),
        )
        for wsid in found
    }


def _workspaces(found: Found) -> Iterator[tuple[str, tuple[str, str | None]]]:
    for wsid, root, path in Workspace.objects.filter(pk__in=found).values_list("pk", "root_path", "current_path"):
        yield wsid, (root, path)


def _snapshots(found: Found) -> dict[str, dict[str, SnapshotRow]]:
    """The kept ones, and the dropped ones of which something is on disk: those that are gone are ever more."""
    on_disk = [item.name for inventory in found.values() if inventory for item in inventory.snapshots]
    wanted = Q(deleted_at__isnull=True) | Q(pk__in=on_disk)
    rows: dict[str, dict[str, SnapshotRow]] = defaultdict(dict)
    chosen = Snapshot.objects.filter(wanted, workspace_id__in=found).values_list(*_SNAPSHOT_FIELDS)
    for wsid, snapshot_id, entries, size, digest, created_by, deleted_by, orphaned_at in chosen:
        orphaned = orphaned_at is not None
        rows[wsid][snapshot_id] = SnapshotRow(entries, size, digest, created_by, deleted_by, orphaned)
    return rows


def _tasks(found: Found, snapshots: Mapping[str, Mapping[str, SnapshotRow]]) -> dict[str, dict[str, TaskRow]]:
    makers = set(_makers(found, snapshots))
    wanted = Q(status__in=LIVE) | Q(pk__in=makers)
    rows: dict[str, dict[str, TaskRow]] = defaultdict(dict)
    chosen = Task.objects.filter(wanted, workspace_id__in=found)
    for wsid, task_id, op, status, snapshot_id in chosen.values_list(
        "workspace_id", "pk", "op", "status", "snapshot_id"
    ):
        rows[wsid][task_id] = TaskRow(op, Status(status), snapshot_id)
    return rows


def _makers(found: Found, snapshots: Mapping[str, Mapping[str, SnapshotRow]]) -> Iterator[str]:
    """The tasks that made what is current, and the snapshots that no row knows."""
    for wsid, inventory in found.items():
        if inventory is None:
            continue
        maker = maker_of((inventory.current or "").removeprefix("live/"))
        if maker is not None:
            yield maker
        known = snapshots.get(wsid, {})
        yield from (item.facts.task_id for item in inventory.snapshots if item.facts and item.name not in known)

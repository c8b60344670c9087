"""Snapshots as a Django app."""

from __future__ import annotations

from django.apps import AppConfig

from tasks.registry import register, register_chore


class SnapshotsConfig(AppConfig):
    """Snapshots: made, switched to, dropped."""

    name = "snapshots"

    def ready(self) -> None:
        """Tell the engine what this app's tasks do, and the scheduler its chores."""
        register("snapshot_create", "snapshots.operations.CreateSnapshot")
        register("snapshot_drop", "snapshots.operations.DropSnapshot")
        register("set_current", "snapshots.operations.SetCurrent")
        register_chore("snapshots.chores.SweepChore")
        register_chore("snapshots.chores.DriftChore")
        register_chore("snapshots.chores.RetentionChore")
        register_chore("snapshots.days.SnapshotDaysChore")
        register_chore("snapshots.orders.OrdersChore", prompt=True)

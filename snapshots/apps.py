"""Snapshots as a Django app."""

from __future__ import annotations

from django.apps import AppConfig

from tasks.registry import register


class SnapshotsConfig(AppConfig):
    """Snapshots: made, switched to, dropped."""

    name = "snapshots"

    def ready(self) -> None:
        """Tell the engine what this app's tasks do."""
        register("snapshot_create", "snapshots.operations.CreateSnapshot")
        register("snapshot_drop", "snapshots.operations.DropSnapshot")
        register("set_current", "snapshots.operations.SetCurrent")

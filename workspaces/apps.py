"""Workspaces as a Django app."""

from __future__ import annotations

from django.apps import AppConfig

from tasks.registry import register


class WorkspacesConfig(AppConfig):
    """Workspaces and their first tree."""

    name = "workspaces"

    def ready(self) -> None:
        """Tell the engine what this app's tasks do."""
        register("init_workspace", "workspaces.operations.InitWorkspace")

"""The task engine as a Django app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import pre_migrate

from tasks.registry import register_chore

SCHEMA = "wvs"


def create_schema(using: str, **kwargs: Any) -> None:
    """The schema that search_path names, before the first migration runs in it (P1-04)."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")


class TasksConfig(AppConfig):
    """Queue, engine and audit trail."""

    name = "tasks"

    def ready(self) -> None:
        """Make the schema exist whenever something migrates; tell the scheduler of the chore."""
        pre_migrate.connect(create_schema, sender=self, dispatch_uid="wvs_schema")
        register_chore("tasks.days.TaskDaysChore")

"""`manage.py run_worker`: serve tasks until told to stop."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from executor import failpoints
from tasks.worker import WorkerProcess
from wvs_project.config import get_config


class Command(BaseCommand):
    """A worker process in the foreground."""

    help = "Serve tasks until SIGTERM or SIGINT; running ones may finish within WORKER_SHUTDOWN_TIMEOUT."

    def handle(self, *args: Any, **options: Any) -> None:
        """Refuse unsafe settings, then serve."""
        config = get_config()
        config.refuse_exposure()
        failpoints.configure(config.failpoints)
        WorkerProcess(config).run()

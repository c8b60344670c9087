"""`manage.py run_scheduler`: ring for forgotten tasks and rescue lost ones until told to stop."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from tasks.locks import GuardPool
from tasks.scheduler import Scheduler
from wvs_project.config import get_config
from wvs_project.db import direct_conninfo


class Command(BaseCommand):
    """A scheduler process in the foreground."""

    help = "Ring for due tasks whose bell was lost and rescue tasks whose worker was lost, until SIGTERM or SIGINT."

    def handle(self, *args: Any, **options: Any) -> None:
        """Refuse unsafe settings, then watch."""
        config = get_config()
        config.refuse_exposure()
        guards = GuardPool(direct_conninfo(application_name="wvs-rescue"))
        scheduler = Scheduler(
            guards=guards,
            backoff_base=config.worker_backoff_base,
            poll_interval=config.worker_poll_interval,
            idle_interval=config.worker_idle_backoff,
        )

        def stop(number: int, frame: FrameType | None) -> None:
            scheduler.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        scheduler.run()
        guards.close()

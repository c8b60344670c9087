"""`manage.py run_scheduler`: ring for forgotten tasks and rescue lost ones until told to stop."""

from __future__ import annotations

from tasks.locks import GuardPool
from tasks.management.service import ServiceCommand, healthy, on_stop_signal
from tasks.scheduler import Scheduler
from wvs_project.config import Config
from wvs_project.db import direct_conninfo


class Command(ServiceCommand):
    """A scheduler process in the foreground."""

    help = "Ring for due tasks whose bell was lost and rescue tasks whose worker was lost, until SIGTERM or SIGINT."

    def serve(self, config: Config) -> None:
        """One scheduler."""
        guards = GuardPool(direct_conninfo(application_name="wvs-rescue"))
        scheduler = Scheduler(
            guards=guards,
            backoff_base=config.worker_backoff_base,
            poll_interval=config.worker_poll_interval,
            idle_interval=config.worker_idle_backoff,
        )
        on_stop_signal(scheduler.stop)
        with healthy(config):
            scheduler.run()
        guards.close()

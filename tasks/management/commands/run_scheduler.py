"""`manage.py run_scheduler`: ring for forgotten tasks, rescue lost ones and sweep, until told to stop."""

from __future__ import annotations

from functools import partial

from prometheus_client import REGISTRY

from tasks.backlog import show_backlog
from tasks.chores import PROMPT_SECONDS, Chores
from tasks.executors import connect_upkeep, require_addrs
from tasks.locks import GuardPool
from tasks.management.service import ServiceCommand, healthy, on_stop_signal
from tasks.registry import registered_chores
from tasks.scheduler import Scheduler
from wvs_project.config import Config
from wvs_project.db import direct_conninfo


class Command(ServiceCommand):
    """A scheduler process in the foreground."""

    service = "wvs-scheduler"
    help = (
        "Ring for due tasks whose bell was lost, rescue tasks whose worker was lost, and sweep what is left on disk, "
        "until SIGTERM or SIGINT. Of several one leads, the others stand by."
    )

    def serve(self, config: Config) -> None:
        """One scheduler."""
        require_addrs(config.executor_addrs)
        guards = GuardPool(direct_conninfo(application_name="wvs-rescue"))
        scheduler = Scheduler(
            guards=guards,
            backoff_base=config.worker_backoff_base,
            poll_interval=config.worker_poll_interval,
            idle_interval=config.worker_idle_backoff,
        )
        make = partial(
            Chores,
            config=config,
            guards=guards,
            leading=scheduler.leading,
            connect=partial(connect_upkeep, config.executor_addrs),
        )
        both = [make(registered_chores()), make(registered_chores(prompt=True), interval=PROMPT_SECONDS)]
        on_stop_signal(scheduler.stop)
        show_backlog(REGISTRY)
        with healthy(config):
            for chores in both:
                chores.start()
            scheduler.run()
            for chores in both:
                chores.stop()
        guards.close()

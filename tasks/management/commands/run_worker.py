"""`manage.py run_worker`: serve tasks until told to stop."""

from __future__ import annotations

from tasks.management.service import ServiceCommand, healthy, on_stop_signal
from tasks.worker import WorkerProcess
from wvs_project.config import Config


class Command(ServiceCommand):
    """A worker process in the foreground."""

    service = "wvs-worker"
    help = "Serve tasks until SIGTERM or SIGINT; running ones may finish within WORKER_SHUTDOWN_TIMEOUT."

    def serve(self, config: Config) -> None:
        """One worker."""
        worker = WorkerProcess(config)
        on_stop_signal(worker.stop)
        with healthy(config):
            worker.run()

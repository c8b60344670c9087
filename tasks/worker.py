"""A worker process (SPEC §6): Dramatiq's threads around one engine, and an end that leaves nothing RUNNING (G12).

One process, no forks: a worker that dies takes only itself along, and its children die with it.
"""

from __future__ import annotations

import threading
from typing import Final

import structlog
from dramatiq import Worker, get_broker

from executor.contract import Executor
from tasks import actors
from tasks.engine import Engine
from tasks.executors import connect_executor
from tasks.locks import GuardPool
from tasks.supervisor import Supervisor
from wvs_project.config import Config
from wvs_project.db import direct_conninfo

QUEUE_TIMEOUT_MS: Final = 1000
"""How long a consumer waits in one blocking pop, and so how long it takes at most to notice a stop."""
HAND_BACK_SECONDS: Final = 15.0
"""What handing back may take after the grace time: a child is killed within 5 s."""
_SIGNAL_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)


def build_engine(config: Config, executor: Executor) -> Engine:
    """The engine of this process."""
    return Engine(
        executor=executor,
        guards=GuardPool(direct_conninfo(application_name="wvs-guard")),
        supervisor=Supervisor(direct_conninfo(application_name="wvs-supervisor")),
        backoff_base=config.worker_backoff_base,
    )


class WorkerProcess:
    """`run()` serves bells until `stop()`. The executor is what EXECUTOR_ADDRS names, unless one is given."""

    def __init__(self, config: Config, executor: Executor | None = None) -> None:
        self._config = config
        self._engine = build_engine(config, executor or connect_executor(config.executor_addrs))
        self._stop = threading.Event()

    def run(self) -> None:
        """Serve. Returns when every run has ended or was handed back."""
        actors.install(self._engine)
        threads = self._config.worker_threads
        worker = Worker(get_broker(), worker_threads=threads, worker_timeout=QUEUE_TIMEOUT_MS)
        worker.queue_prefetch = threads
        worker.start()
        log.info("worker.ready", threads=threads)
        # The kernel may give a signal to another thread, as right after SIGCONT: this one hears of it when it wakes.
        while not self._stop.wait(_SIGNAL_SECONDS):
            pass
        self._end(worker)

    def stop(self) -> None:
        """End run(), in order. May be called from a signal handler."""
        self._stop.set()

    def _end(self, worker: Worker) -> None:
        """Take nothing new; let what runs finish within the grace time; hand back the rest."""
        grace = self._config.worker_shutdown_timeout
        log.info("worker.stopping", grace_seconds=grace)
        self._engine.stop_taking()
        overdue = threading.Timer(grace, self._engine.hand_back_all)
        overdue.daemon = True
        overdue.start()
        # By itself the worker would go on reading bells until the grace time is over, and serve none of them.
        for consumer in worker.consumers.values():
            consumer.stop()
        worker.stop(timeout=int((grace + HAND_BACK_SECONDS) * 1000))
        overdue.cancel()
        self._engine.close()
        log.info("worker.stopped")

"""A worker process as `manage.py run_worker` is, but for its executor, which does nothing: what is left is the queue.

Run by `benchmarks.django_program`.
"""

from __future__ import annotations

from collections.abc import Sequence

from executor.contract import (
    INITIAL_LIVE_ID,
    ExecuteTask,
    OperationName,
    Outcome,
    ProgressSink,
    StopSignal,
    live_id_for,
)
from tasks.management.service import healthy, on_stop_signal
from tasks.worker import WorkerProcess
from wvs_project.config import get_config


class NoopExecutor:
    """Everything is done at once, and nothing is."""

    def execute(self, request: ExecuteTask, *, stop: StopSignal, progress: ProgressSink) -> Outcome:
        """What the operation's `apply` needs to be told."""
        if request.op == OperationName.INIT_WORKSPACE:
            return Outcome(live_id=INITIAL_LIVE_ID)
        if request.op == OperationName.SET_CURRENT:
            return Outcome(live_id=live_id_for(request.task_id))
        return Outcome(entries=0, bytes=0, manifest_digest="")

    def probe(self, request: ExecuteTask, *, stop: StopSignal) -> Outcome | None:
        """Nothing was ever published."""
        return None

    def close(self) -> None:
        """Nothing to let go of."""


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop."""
    config = get_config()
    worker = WorkerProcess(config, NoopExecutor())
    on_stop_signal(worker.stop)
    with healthy(config):
        worker.run()
    return 0

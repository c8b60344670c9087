"""`python -m executor`: the execution plane as a service of its own (SPEC §1, §7). Settings: SPEC §11.

Exit codes: 0 stopped by a signal; 2 refused to start, with the reason on stderr.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from typing import Final

import structlog

from executor import failpoints
from executor.config import ExecutorConfigError
from executor.local import LocalExecutor
from executor.metrics import ExecutorMetrics, serving_metrics
from executor.remount import OwnMount
from executor.runs import Runs
from executor.server import ExecutorServer
from executor.service import ExecutorService
from executor.service_config import ServiceConfig, read_service_config
from executor.watch import MountWatch, look_once
from observation import tracing
from observation.logs import configure_logging

_log = structlog.get_logger(__name__)
_SIGNAL_SECONDS: Final = 0.5
"""The kernel may give a signal to another thread, as right after SIGCONT: this one hears of it only when it wakes."""


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        config = read_service_config()
        configure_logging(config.log_level, config.log_format, config.secrets)
        failpoints.configure(config.failpoints)
        with ExitStack() as cleanup:
            tracing.start(config.traces, "wvs-executor")
            cleanup.callback(tracing.stop)
            serve(config, stop, cleanup)
    except (ExecutorConfigError, OSError, ValueError) as error:
        sys.stderr.write(f"the executor does not start: {error}\n")
        return 2
    return 0


def serve(config: ServiceConfig, stop: threading.Event, cleanup: ExitStack) -> None:
    """Serve until `stop`. Raises ExecutorConfigError, OSError and ValueError for what forbids the start."""
    own = _mounted(config, cleanup)
    mount = config.executor.mount_path
    problem = look_once(mount)
    if problem is not None:
        raise ExecutorConfigError(f"EXECUTOR_MOUNT_PATH: {problem}; mount the volume, then start the executor")
    _refuse_no_mount(config)
    metrics, runs = ExecutorMetrics(), Runs()
    executor = LocalExecutor(config.executor, metrics=metrics)
    service = ExecutorService(executor, runs=runs, why_dead=lambda: watch.problem)
    server = ExecutorServer(service, runs, addr=config.grpc_addr, tls=config.tls)

    def heard(problem: str | None) -> None:
        metrics.mount_up.set(problem is None)
        server.say_healthy(problem is None)

    watch = MountWatch(mount, heard=heard, revive=own.mount if own else None)
    cleanup.enter_context(serving_metrics(config.metrics_addr, metrics, lambda: watch.problem))
    server.start()
    heard(None)
    watch.start()
    _log.info("executor.ready", mount=str(mount), addr=str(server.addr), tls=config.tls is not None)
    while not stop.wait(_SIGNAL_SECONDS):
        pass
    server.stop(config.shutdown_timeout)
    watch.close()


def _mounted(config: ServiceConfig, cleanup: ExitStack) -> OwnMount | None:
    """The volume, where this executor mounts it by itself."""
    if config.volume is None:
        return None
    own = OwnMount(config.volume, config.executor.mount_path, config.executor.juicefs)
    cleanup.callback(own.unmount)
    own.format()
    own.mount()
    return own


def _refuse_no_mount(config: ServiceConfig) -> None:
    """The empty directory below a missing mount looks like a volume to the drivers that work anywhere."""
    mount = config.executor.mount_path
    if config.executor.clone_driver == "auto" and not mount.is_mount():
        raise ExecutorConfigError(
            f"EXECUTOR_MOUNT_PATH={mount}: nothing is mounted there. Mount the volume, or name the driver "
            "(EXECUTOR_CLONE_DRIVER=reflink or copy) if it is meant to be an ordinary directory"
        )


if __name__ == "__main__":
    sys.exit(main())

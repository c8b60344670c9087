"""The executor itself: inside the process that calls it (SPEC §1), be that a worker or the service."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog

from executor import detach, inventory, sweep, tree
from executor.attempt import Attempt
from executor.clone.choice import choose_driver, identity_of
from executor.clone.driver import CloneDriver
from executor.config import ExecutorConfig, ExecutorConfigError, read_config
from executor.contract import (
    ExecuteTask,
    ExecutorFault,
    FaultReason,
    OperationName,
    Outcome,
    Progress,
    ProgressSink,
    Stopped,
    StopSignal,
)
from executor.faults import fault_of, reason_of
from executor.layout import Layout
from executor.metrics import ExecutorMetrics, metrics_in_process
from executor.operations import init_workspace, set_current, snapshot_create, snapshot_drop
from executor.upkeep import AgentSeen, Detached, Inventory, Purged, SweepRequest, Swept
from executor.witness import Elsewhere
from wvs_agent.protocol import UnsafeFileError

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class _Operation(Protocol):
    """What a module of `operations` offers."""

    def run(self, attempt: Attempt) -> Outcome: ...

    def published(self, attempt: Attempt) -> Outcome | None: ...


_OPERATIONS: Final[dict[OperationName, _Operation]] = {
    OperationName.INIT_WORKSPACE: init_workspace,
    OperationName.SNAPSHOT_CREATE: snapshot_create,
    OperationName.SNAPSHOT_DROP: snapshot_drop,
    OperationName.SET_CURRENT: set_current,
}


def open_local_executor(*, counted: bool = False) -> LocalExecutor:
    """From the environment. `counted`: shown among this process's metrics. Raises ExecutorConfigError."""
    executor = LocalExecutor(read_config(), metrics=metrics_in_process() if counted else None)
    _log.warning("executor.in_process", meaning="this process holds the rights of both planes")
    return executor


class LocalExecutor:
    """Implements contract.Executor and upkeep.Upkeep. Thread-safe: the workspace's lock lets one call work on it."""

    def __init__(
        self, config: ExecutorConfig, driver: CloneDriver | None = None, metrics: ExecutorMetrics | None = None
    ) -> None:
        """Counts in `metrics`, else where nobody looks. Raises ExecutorConfigError: mount missing, dead or unusable."""
        self._config = config
        self._driver = driver or choose_driver(config)
        self._layout = Layout(config.mount_path)
        self._volume = identity_of(config.mount_path)
        self._elsewhere = Elsewhere()
        self._metrics = metrics or ExecutorMetrics()
        _log.info("volume.opened", mount=str(config.mount_path), driver=self._driver.name)
        if self._driver.name == "copy":
            _log.warning("driver.copies", meaning="every snapshot and every switch copies all bytes")
        if not config.protects_from_agent:
            _log.warning("agent.unconfined", meaning="it has the executor's own uid: nothing protects our files")

    @property
    def driver_name(self) -> str:
        """The clone driver in use."""
        return self._driver.name

    def execute(self, request: ExecuteTask, *, stop: StopSignal, progress: ProgressSink) -> Outcome:
        """See contract.Executor."""
        attempt = self._attempt(request, stop, progress)
        try:
            with self._metrics.running():
                outcome = self._speaking(lambda: _operation(request).run(attempt), stop=stop, attempt=attempt)
        except ExecutorFault as fault:
            self._metrics.failed(fault.reason)
            raise
        self._metrics.done(request.op, outcome)
        return outcome

    def probe(self, request: ExecuteTask, *, stop: StopSignal) -> Outcome | None:
        """See contract.Executor."""
        attempt = self._attempt(request, stop, _no_progress)

        def look() -> Outcome | None:
            if request.op is OperationName.INIT_WORKSPACE:
                init_workspace.make_ground(attempt.ws)
            with attempt.holding():
                return _operation(request).published(attempt)

        return self._speaking(look, stop=stop, attempt=attempt)

    def workspaces(self) -> list[str]:
        """See upkeep.Upkeep."""
        return self._speaking(lambda: inventory.workspaces(self._layout))

    def inventory(self, wsid: str, *, descriptors: bool) -> Inventory | None:
        """See upkeep.Upkeep."""
        ws = self._layout.workspace(wsid)
        return self._speaking(lambda: inventory.take(ws, descriptors=descriptors))

    def last_written(self, wsid: str, live_id: str, *, stop: StopSignal) -> datetime:
        """See upkeep.Upkeep."""
        ws = self._layout.workspace(wsid)
        return self._speaking(lambda: inventory.last_written(ws, live_id, stop), stop=stop)

    def sweep(self, request: SweepRequest, *, stop: StopSignal) -> Swept:
        """See upkeep.Upkeep."""
        ws = self._layout.workspace(request.wsid)
        return self._speaking(lambda: sweep.sweep(ws, request, stop), stop=stop)

    def purge(self, wsid: str, *, fence: int, stop: StopSignal) -> Purged:
        """See upkeep.Upkeep."""
        ws = self._layout.workspace(wsid)
        return self._speaking(lambda: sweep.purge(ws, fence, self._driver, stop), stop=stop)

    def agent(self, wsid: str) -> AgentSeen | None:
        """See upkeep.Upkeep."""
        ws = self._layout.workspace(wsid)
        return self._speaking(lambda: detach.look(ws) if tree.is_real_directory(ws.wvs) else None)

    def detach(self, wsid: str, *, fence: int, stop: StopSignal) -> Detached:
        """See upkeep.Upkeep."""
        ws = self._layout.workspace(wsid)
        return self._speaking(lambda: detach.detach(ws, fence, self._config, stop), stop=stop)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _attempt(self, request: ExecuteTask, stop: StopSignal, progress: ProgressSink) -> Attempt:
        return Attempt(
            ws=self._layout.workspace(request.wsid),
            request=request,
            config=self._config,
            driver=self._driver,
            stop=stop,
            progress=progress,
            metrics=self._metrics,
            elsewhere=self._elsewhere,
        )

    def _speaking(self, work: Callable[[], T], *, stop: StopSignal | None = None, attempt: Attempt | None = None) -> T:
        """Run it, and say what went wrong in the words of the port."""

        def unknown() -> bool:
            return attempt is not None and attempt.published

        try:
            with self._one_mount():
                if stop is not None:
                    stop.check()
                return work()
        except ExecutorFault as fault:
            fault.outcome_unknown = fault.outcome_unknown or unknown()
            raise
        except UnsafeFileError as error:
            raise ExecutorFault(FaultReason.UNSAFE_PATH, str(error), outcome_unknown=unknown()) from error
        except OSError as error:
            raise fault_of(error, outcome_unknown=unknown()) from error
        except Stopped:
            raise
        except Exception as error:
            _log.exception("operation.crashed")
            message = f"{type(error).__name__}: {error}"
            raise ExecutorFault(FaultReason.INTERNAL, message, outcome_unknown=attempt is not None) from error

    @contextmanager
    def _one_mount(self) -> Iterator[None]:
        """Whatever is found, missing or made meanwhile is on our volume, by one mount of it.

        An unmounted mount point is an empty directory: what was looked for there is not known to be missing, and what
        was made there is not made. Raises ExecutorFault(UNAVAILABLE).
        """
        mount = self._config.mount_path
        _refuse_lost_volume(mount, self._volume)
        # Open, so that no later mount gets this one's device number.
        fd = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield
        except (ExecutorFault, UnsafeFileError, OSError) as error:
            _refuse_another_mount(mount, fd, error)
            raise
        else:
            _refuse_another_mount(mount, fd, None)
        finally:
            os.close(fd)


def _refuse_lost_volume(mount: Path, volume: str) -> None:
    """Nothing is begun on it, so that it was no attempt."""
    try:
        found = identity_of(mount)
    except OSError as error:
        raise ExecutorFault(reason_of(error), str(error), begun=False) from error
    if found != volume:
        said = f"{mount} is not the volume that it was at the start"
        raise ExecutorFault(FaultReason.UNAVAILABLE, said, begun=False)


def _refuse_another_mount(mount: Path, fd: int, error: Exception | None) -> None:
    if mount.stat().st_dev != os.fstat(fd).st_dev:
        said = f"{mount} was unmounted meanwhile{f': {error}' if error else ''}"
        unknown = isinstance(error, ExecutorFault) and error.outcome_unknown
        raise ExecutorFault(FaultReason.UNAVAILABLE, said, outcome_unknown=unknown) from error


def _operation(request: ExecuteTask) -> _Operation:
    return _OPERATIONS[OperationName(request.op)]


def _no_progress(progress: Progress) -> None:
    """A probe has none to tell."""


__all__ = ["ExecutorConfigError", "LocalExecutor", "open_local_executor"]

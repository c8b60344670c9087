"""One attempt at one task: what every operation works with, and its staging directory (SPEC §2, §7)."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from executor import fence, tree
from executor.clone.driver import CloneDriver
from executor.config import ExecutorConfig
from executor.contract import (
    ExecuteTask,
    ExecutorFault,
    FaultReason,
    Progress,
    ProgressSink,
    Stopped,
    StopReason,
    StopSignal,
)
from executor.fence import Held
from executor.freeze import Freeze, freeze
from executor.layout import WorkspaceLayout
from executor.metrics import ExecutorMetrics
from executor.witness import Elsewhere
from observation import tracing

_log = structlog.get_logger(__name__)
_DISCARD_SECONDS = 20.0
_SPANS: Final = {"precopy": "executor.clone", "clone": "executor.clone", "switch": "executor.switch_current"}


@dataclass(slots=True)
class Attempt:
    """A request on its workspace. `published` is set right before the first thing becomes visible."""

    ws: WorkspaceLayout
    request: ExecuteTask
    config: ExecutorConfig
    driver: CloneDriver
    stop: StopSignal
    progress: ProgressSink
    metrics: ExecutorMetrics
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    """What this executor's earlier attempts saw."""
    published: bool = False
    timings: dict[str, float] = field(default_factory=dict)
    _still: bool = field(default=False, init=False)
    """An agent stands still for us."""

    @contextmanager
    def holding(self) -> Iterator[Held]:
        """The fence raised and the workspace's lock held; leftovers of this task's older attempts are deleted."""
        self._refuse_planted()
        with fence.hold(self.ws, self.request.fence, self.stop) as held:
            self._delete_leftovers(held)
            yield held

    def _refuse_planted(self) -> None:
        """Every directory of ours is one, or we would work behind a symlink (G16). Raises UNSAFE_PATH."""
        ws = self.ws
        needed = [ws.root, ws.wvs, ws.staging_dir]
        needed += [path for path in (ws.live_dir, ws.snapshots_dir) if os.path.lexists(path)]  # init makes them later
        for path in needed:
            if not tree.is_real_directory(path):
                raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{path} is missing or no directory: not our workspace")

    @contextmanager
    def frozen(self, held: Held) -> Iterator[Freeze]:
        """The agent stands still, as freeze() says, and what that cost it is counted."""
        quiet: Freeze | None = None
        finished = False
        try:
            self._tell(Progress("quiesce"))
            with freeze(self.ws, self.request, self.config, self.stop, check=held.check) as quiet, self._told(quiet):
                yield quiet
                finished = True
        except ExecutorFault as fault:
            if quiet is None and fault.reason is FaultReason.QUIESCE_TIMEOUT:
                self.metrics.unanswered()
            raise
        finally:
            if quiet is not None:
                self.metrics.froze(quiet.report, heard=finished)

    @property
    def staging(self) -> Path:
        """This attempt's own directory; it need not be there."""
        return self.ws.staging(self.request.task_id, self.request.fence)

    @contextmanager
    def staged(self, held: Held) -> Iterator[Path]:
        """The staging directory, made now and deleted at the end, whatever happened."""
        staging = self.staging
        staging.mkdir(mode=0o700)
        try:
            yield staging
        finally:
            self.discard(staging, held)

    @property
    def verifies(self) -> bool:
        """Whether quiet is proved and clones are compared with what they were made from."""
        return self.config.verify_quiet != "off"

    @property
    def scans_xattrs(self) -> bool:
        """Whether scans look at extended attributes."""
        return self.driver.copies_xattrs or self.config.verify_quiet == "full"

    def counting(self, total: int | None) -> ProgressSink:
        """Where a clone tells how far it is in a tree of so many entries; None: nobody knows."""

        def tell(progress: Progress) -> None:
            self._tell(dataclasses.replace(progress, entries_total=total))

        return tell

    @contextmanager
    def _told(self, quiet: Freeze) -> Iterator[None]:
        """It is told that the agent stands still, and that it may go on."""
        if not quiet.attached:
            yield
            return
        self._still = True
        self._tell(Progress("freeze"))
        try:
            yield
        finally:
            self._still = False
            self._tell(Progress("resume"))

    def _tell(self, progress: Progress) -> None:
        self.progress(dataclasses.replace(progress, frozen=self._still))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Tell that it is being done, and note how long it took, in seconds."""
        self._tell(Progress(name))
        begin = time.monotonic()
        try:
            with tracing.span(_SPANS[name]) if name in _SPANS else contextlib.nullcontext():
                yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - begin

    def may_publish(self, held: Held) -> None:
        """The last look before something becomes visible. Raises Stopped or FENCED; later stops are too late."""
        held.check(force=True)
        self.published = True

    def discard(self, path: Path, held: Held) -> None:
        """Delete something in staging, though the run itself may have been stopped. Never raises.

        It takes at most 20 s and gives way to a newer attempt: what stays is deleted by that one, or swept.
        """
        with contextlib.suppress(OSError):
            path.rmdir()  # most often it is empty
            return
        patience = StopSignal()
        timer = threading.Timer(_DISCARD_SECONDS, patience.stop, [StopReason.TIMED_OUT])
        timer.daemon = True
        timer.start()
        try:
            self.delete(path, held, patience)
        finally:
            timer.cancel()
            patience.close()

    def delete(self, path: Path, held: Held, stop: StopSignal) -> str | None:
        """Delete something in staging. Never raises: what stays is the sweeper's, and said in the answer."""
        try:
            self._delete(path, held, stop)
        except (OSError, ExecutorFault, Stopped) as error:
            _log.warning("staging.stays", path=str(path), error=str(error))
            return f"{path.name} could not be deleted: {error}"
        return None

    def _delete(self, path: Path, held: Held, stop: StopSignal) -> None:
        """By the driver, but not the few small things for which it need not be started."""
        if tree.is_real_directory(path) and any(map(os.path.lexists, _big_things(path))):
            self.driver.delete(path, stop=stop, check=partial(held.check_deleting, stop), lock_fd=held.lock_fd)
        else:
            tree.delete(path)

    def _delete_leftovers(self, held: Held) -> None:
        """Staging of this task's attempts with lower fences: we hold the lock, so nobody works there."""
        mine = self.request.task_id + "."
        for left in self.ws.staging_dir.iterdir():
            if left.name.startswith(mine) and left != self.staging:
                self.delete(left, held, self.stop)


def _big_things(staging: Path) -> tuple[Path, ...]:
    """Where whole trees lie in the staging of set_current, of a drop and of snapshot_create."""
    return staging / "live", staging / "tree", staging / "snapshot" / "tree", staging / "displaced"

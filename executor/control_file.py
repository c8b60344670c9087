"""The executor's side of control.json during one freeze (SPEC §8)."""

from __future__ import annotations

import contextlib
import threading
from contextvars import copy_context
from pathlib import Path

import structlog

from executor import contract
from executor.contract import ExecuteTask, OperationName
from executor.layout import WorkspaceLayout
from wvs_agent import protocol
from wvs_agent.protocol import Control, ControlState, Lease

_log = structlog.get_logger(__name__)


class ControlFile:
    """Asks for a freeze, renews it and takes it back, always with one fresh nonce. Thread-safe.

    The caller holds the workspace's lock, which makes it the only writer of control.json.
    """

    def __init__(self, ws: WorkspaceLayout, request: ExecuteTask, *, current: str, lease_seconds: float) -> None:
        self.nonce = protocol.new_nonce()
        self._path = ws.control
        self._request = request
        self._current = current
        self._becomes = current
        if request.op is OperationName.SET_CURRENT:
            # An agent that is not to be switched knows by it what it is asked for. Any other does not look at it.
            self._becomes = ws.link_target(contract.live_id_for(request.task_id))
        self._lease_seconds = lease_seconds
        self._lock = threading.Lock()
        self._leases: dict[int, Lease] = {}
        self._spare: Path | None = None
        self._taken_back = False

    @property
    def asked(self) -> bool:
        """Whether a REQUEST_FREEZE was written, or may have been."""
        return bool(self._leases)

    def prepare(self) -> None:
        """Put the REQUEST_RESUME of a freeze that changed nothing aside. Raises OSError, for example ENOSPC.

        Taking the freeze back is then one rename, which needs no space (H10) and no time of the agent's standstill.
        """
        self._spare = protocol.stage_file(
            self._path, self._document(ControlState.REQUEST_RESUME, 0, self._current).encode(), suffix="resume"
        )

    def ask(self) -> None:
        """Write REQUEST_FREEZE. Raises OSError; resume() is due all the same."""
        self._write_freeze(0)

    def renew(self) -> bool:
        """Write the next renewal; False once the freeze was taken back. Raises OSError."""
        with self._lock:
            if self._taken_back:
                return False
            self._write_freeze(len(self._leases))
            return True

    def lease(self, renewal: int) -> Lease | None:
        """Our lease of that renewal, which is good once the agent says that it saw it; None if we never wrote it."""
        return self._leases.get(renewal)

    def resume(self, current: str | None) -> bool:
        """Write REQUEST_RESUME naming `current`; False if that failed: the lease then ends the freeze. Never raises."""
        with self._lock:
            self._taken_back = True
            target = self._current if current is None else current
            try:
                if self._spare is not None and target == self._current:
                    self._spare.rename(self._path)
                else:
                    last = max(len(self._leases) - 1, 0)
                    document = self._document(ControlState.REQUEST_RESUME, last, target)
                    protocol.replace_file(self._path, document.encode())
            except OSError as error:
                _log.warning("freeze.resume_unwritten", error=str(error))
                return False
            return True

    def close(self) -> None:
        """Remove what was put aside. Never raises."""
        if self._spare is not None:
            with contextlib.suppress(OSError):
                self._spare.unlink(missing_ok=True)

    def _write_freeze(self, renewal: int) -> None:
        document = self._document(ControlState.REQUEST_FREEZE, renewal, self._becomes)
        # Before the write, and whether or not it succeeds: the agent's lease of it cannot have begun earlier.
        self._leases[renewal] = Lease(protocol.clock(), self._lease_seconds)
        protocol.replace_file(self._path, document.encode())

    def _document(self, state: ControlState, renewal: int, current: str) -> Control:
        return Control(
            state=state,
            nonce=self.nonce,
            renewal=renewal,
            lease_seconds=self._lease_seconds,
            task_id=self._request.task_id,
            fence=self._request.fence,
            current=current,
            updated_at=protocol.now_text(),
        )


class Renewer:
    """Renews the lease of a freeze every third of it, in a thread, until it is stopped, limited or cannot write."""

    def __init__(self, control: ControlFile, lease_seconds: float) -> None:
        self._control = control
        self._lease_seconds = lease_seconds
        self._until = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="wvs-freeze-renewer", daemon=True
        )

    def start(self, *, until: float) -> None:
        """Begin. No renewal is written whose lease would outlast `until`, on protocol.clock()."""
        self._until = until
        self._thread.start()

    def limit(self, *, until: float) -> None:
        """Bring the end forward: the ack came."""
        self._until = until

    def stop(self) -> None:
        """No further renewal begins. Does not wait."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for the thread to end; stop() was called."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._lease_seconds / 3):
            if protocol.clock() + self._lease_seconds > self._until:
                return
            try:
                if not self._control.renew():
                    return
            except OSError as error:
                # No second try: whatever is wrong with the disk, the lease ends the freeze by itself (H10).
                _log.warning("freeze.lease_unrenewed", error=str(error))
                return

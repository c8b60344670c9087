"""One standstill of the agent, from REQUEST_FREEZE to the thaw (SPEC §8)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from wvs_agent import protocol
from wvs_agent.handles import fsync_open_files, old_handles
from wvs_agent.protocol import AgentState, AgentStatus, Control, ControlState, FileWatch, Lease, UnsafeFileError
from wvs_agent.refusal import FreezeRefusedError
from wvs_agent.watch import list_directory

_log = logging.getLogger(__name__)

OnFreeze = Callable[[], None]
OnResume = Callable[[str], None]
OnLease = Callable[[Control, Lease], None]
ListHandles = Callable[[Path, str], tuple[str, ...]]


def _about(event: str, request: Control) -> dict[str, object]:
    return {"event": event, "task_id": request.task_id}


def no_lease_watched(request: Control, lease: Lease) -> None:
    """For programs that do not look at leases."""


class AgentSide:
    """The files of one workspace as the agent reads and writes them."""

    def __init__(self, root: Path, agent_id: str) -> None:
        self.root: Final = root
        self.control_file: Final = root / protocol.CONTROL_FILE
        self._agent_file = root / protocol.AGENT_FILE
        self._agent_id = agent_id

    def refresh(self) -> None:
        """See what other mounts have put there."""
        for directory in (self.root, self.control_file.parent, self._agent_file.parent):
            list_directory(directory)

    def asked(self) -> Control | None:
        """What control.json says; None while it is missing, half-written or planted."""
        try:
            return protocol.read_control(self.control_file)
        except UnsafeFileError as error:
            _log.warning("control.json is not believed: %s", error, extra={"event": "control.unbelieved"})
            return None

    def answered(self) -> AgentStatus | None:
        """What agent.json says, maybe of an agent before us."""
        try:
            return protocol.read_agent(self._agent_file)
        except UnsafeFileError:
            return None

    def say(self, state: AgentState, nonce: str, renewal: int, handles: tuple[str, ...] = ()) -> None:
        """Replace agent.json. Raises OSError."""
        status = AgentStatus(
            agent_id=self._agent_id,
            state=state,
            nonce=nonce,
            renewal=renewal,
            current=self.current(),
            old_handles=handles,
            updated_at=protocol.now_text(),
        )
        protocol.replace_file(self._agent_file, status.encode())

    def current(self) -> str:
        """Where `current` points for us; empty if it cannot be read."""
        try:
            return protocol.printable(str((self.root / "current").readlink()))
        except OSError:
            return ""


class Standstill:
    """The program stops, the executor is told, the program goes on. Nothing stays frozen.

    Runs in one thread. on_resume is called exactly once after each call of on_freeze, also when that one raised.
    """

    def __init__(
        self,
        side: AgentSide,
        watch: FileWatch,
        on_freeze: OnFreeze,
        on_resume: OnResume,
        *,
        on_lease: OnLease = no_lease_watched,
        handles: ListHandles = old_handles,
    ) -> None:
        """`on_lease` hears the request and each renewal before it is answered; if it raises, the freeze ends."""
        self._side = side
        self._watch = watch
        self._on_freeze = on_freeze
        self._on_resume = on_resume
        self._on_lease = on_lease
        self._handles = handles

    def run(self, request: Control) -> None:
        """Answer `request`, a REQUEST_FREEZE that was read just now. Its nonce is used up afterwards. Never raises."""
        begun = protocol.clock()
        self._see(request)
        ends = self._until_resume() if self._stop_program(request) else None
        if ends is None:
            # Our word is taken back before the program moves. If this cannot be written, it thaws all the same: the
            # executor's lease has ended before ours, or it never heard FROZEN.
            self._say(AgentState.RUNNING)
            self._let_go(self._side.current())
            return
        seen = self._await_current(ends.current)
        self._let_go(seen)
        # Not before: whoever reads our lines may be one of those that stood still.
        seconds = round(protocol.clock() - begun, 6)
        about = {**_about("freeze.ended", request), "seconds": seconds}
        _log.info("stood still for %.3f s for %s", seconds, request.task_id, extra=about)
        self._say(AgentState.RUNNING, self._list_handles(seen))

    def _see(self, control: Control) -> None:
        """Start our lease of this renewal: after it was read, so that it ends after the executor's."""
        self._lease = Lease(protocol.clock(), control.lease_seconds)
        self._nonce, self._renewal = control.nonce, control.renewal

    def _extended(self, renewal: Control) -> bool:
        """Whether the renewal is ours to count on."""
        self._see(renewal)
        try:
            self._on_lease(renewal, self._lease)
        except Exception:
            _log.exception("the renewal is not taken: thawing", extra={"event": "freeze.renewal_refused"})
            return False
        return True

    def _stop_program(self, request: Control) -> bool:
        """Stop writing and flush; False if that failed, and then FROZEN is never said."""
        try:
            self._on_lease(request, self._lease)
            self._on_freeze()
            fsync_open_files(self._side.root)
        except FreezeRefusedError as error:
            _log.warning("the freeze is refused: %s", error, extra=_about("freeze.refused", request))
            return False
        except Exception:
            said = "the freeze is refused: the program did not stop, or its files cannot be flushed"
            _log.exception(said, extra=_about("freeze.refused", request))
            return False
        return True

    def _until_resume(self) -> Control | None:
        """Say FROZEN and stand still: the REQUEST_RESUME that ends it, or None when the lease or the request ended."""
        said = -1
        self._watch.hasten()
        while True:
            control = self._side.asked()
            if control is not None:
                if control.nonce != self._nonce:
                    return None  # another executor is at work: the one that we stand still for is dead
                if control.state is not ControlState.REQUEST_FREEZE:
                    return control
            if not self._lease.stands():
                # Before a renewal is looked at: whoever watches over us may have thawed the program already.
                _log.warning(
                    "the lease of the freeze ended: thawing without being told to",
                    extra={"event": "freeze.lease_ended"},
                )
                return None
            if control is not None and control.renewal > self._renewal and not self._extended(control):
                return None
            if said < self._renewal:
                if not self._say(AgentState.FROZEN) and said < 0:
                    return None
                said = self._renewal
            self._watch.wait(self._lease.remaining())
            self._watch.refresh()

    def _await_current(self, expected: str) -> str:
        """Wait until our own readlink(current) is the executor's: a mount may show the old one for its cache time."""
        deadline = protocol.clock() + protocol.CURRENT_WAIT_LIMIT
        with FileWatch(self._side.root / "current") as watch:
            while True:
                watch.refresh()
                seen = self._side.current()
                left = deadline - protocol.clock()
                if seen == expected or left <= 0:
                    return seen
                watch.wait(left)

    def _list_handles(self, current: str) -> tuple[str, ...]:
        try:
            return self._handles(self._side.root, current)
        except Exception:  # the answer matters more than what is in it
            _log.exception("open files of the old tree could not be listed", extra={"event": "handles.unlisted"})
            return ()

    def _let_go(self, current: str) -> None:
        try:
            self._on_resume(current)
        except Exception:
            _log.exception("on_resume failed", extra={"event": "resume.failed"})

    def _say(self, state: AgentState, handles: tuple[str, ...] = ()) -> bool:
        try:
            self._side.say(state, self._nonce, self._renewal, handles)
        except OSError as error:
            _log.warning("agent.json: %s not written: %s", state, error, extra={"event": "status.unwritten"})
            return False
        return True

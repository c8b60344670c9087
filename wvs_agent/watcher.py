"""The class that an agent embeds so that its workspace can be snapshotted and switched (SPEC §8)."""

from __future__ import annotations

import collections
import logging
import os
import secrets
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from wvs_agent import protocol
from wvs_agent.attachment import Attachment, OnLock, no_children
from wvs_agent.handles import old_handles
from wvs_agent.lock import AgentLock
from wvs_agent.protocol import AgentState, Control, ControlState, FileWatch
from wvs_agent.standstill import (
    AgentSide,
    ListHandles,
    OnFreeze,
    OnLease,
    OnResume,
    Standstill,
    no_lease_watched,
)

_log = logging.getLogger(__name__)

ATTACH_LIMIT: Final = 60.0
"""Seconds that attach() waits by default."""
_IDLE: Final = 60.0
_SPENT_NONCES: Final = 256


class AttachTimeoutError(TimeoutError):
    """The workspace stayed in the hands of the executor, or of another agent."""


class QuiesceWatcher:
    """Attaches this process to a workspace as its agent, and freezes and thaws the program when the executor asks.

    The program may write below `workspace/current` from attach() until detach(), and at no other time:

        with QuiesceWatcher("/ws/demo", on_freeze=pause_writers, on_resume=resume_writers):
            work()

    `on_freeze()` returns once nothing in this program, its children included, writes any more; it flushes the program's
    own buffers and fsyncs what children have open. Then the watcher fsyncs what this process has open for writing
    (`fsync_open_files`) and says FROZEN. If on_freeze raises, FROZEN is not said.
    `on_resume(current)` lets the program go on in the tree that `current` ("live/<id>") names: a changed value means
    that open files and working directories are still in the old tree and should be opened anew. It is called once
    after every on_freeze. Both run in the watcher's thread and must not call attach() or detach().

    Children hold the agent lock too if they inherit it: `subprocess.Popen(..., pass_fds=[watcher.lock_fd])`. Every
    child that writes to the workspace must, or it may write into a snapshot after this process is gone.

    The lock can be lost while the program runs: the process that serves the mount was killed and replaced, or an
    operator detached the agent. It is looked at each second and at each request, and taken again as soon as it is free;
    `on_lock(fd)` hears of the new descriptor, which children do not have. If `current` was switched meanwhile,
    on_resume is called without on_freeze.
    Methods may be called from any thread.
    """

    def __init__(
        self,
        workspace: str | os.PathLike[str],
        on_freeze: OnFreeze,
        on_resume: OnResume,
        *,
        agent_id: str | None = None,
        on_lease: OnLease = no_lease_watched,
        on_lock: OnLock = no_children,
        handles: ListHandles = old_handles,
    ) -> None:
        """`workspace` is the directory with `current` in it; `agent_id` names the agent in task results.

        `on_lease(request, lease)` hears the request before on_freeze, and each renewal, before it is answered: if it
        raises, the freeze is refused or ended. `handles(root, current)` lists what is still open in old trees.
        """
        root = Path(os.path.realpath(workspace))
        name = agent_id or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._side = AgentSide(root, protocol.printable(name))
        self._on_freeze = on_freeze
        self._on_resume = on_resume
        self._on_lease = on_lease
        self._on_lock = on_lock
        self._handles = handles
        self._guard = threading.RLock()
        self._lock: AgentLock | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._wake = -1
        self._spent: collections.deque[str] = collections.deque(maxlen=_SPENT_NONCES)

    def __enter__(self) -> Self:
        self.attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    @property
    def attached(self) -> bool:
        """Whether this process is the agent by this watcher."""
        return self._lock is not None

    @property
    def lock_fd(self) -> int:
        """The descriptor to pass to children. Raises RuntimeError when not attached."""
        if self._lock is None:
            raise RuntimeError("not attached")
        return self._lock.fileno()

    def attach(self, timeout: float = ATTACH_LIMIT) -> None:
        """Become the agent of the workspace, before the first write to it.

        Waits while the executor works there with nobody attached (H4), while another agent is attached, and for the
        end of a freeze that is under way. Raises AttachTimeoutError after about `timeout` seconds, FileNotFoundError
        where there is no workspace, RuntimeError if attached already.
        """
        self._refuse_callbacks()
        with self._guard:
            if self._lock is not None:
                raise RuntimeError("attached already")
            lock = AgentLock(self._side.root / protocol.AGENT_LOCK)
            try:
                self._take(lock, protocol.clock() + timeout)
                self._enter_quietly()
                self._start_thread(Attachment(lock, self._side, self._on_lock, self._on_resume))
            except BaseException:
                lock.close()
                raise
            lock.share_with_children()
            self._lock = lock

    def detach(self) -> None:
        """Stop being the agent: nothing of this program may write to the workspace from here on.

        During a freeze it waits for its end, at most for the lease. Children that inherited the lock keep it. Does
        nothing when not attached. Raises RuntimeError when called from a callback.
        """
        self._refuse_callbacks()
        with self._guard:
            if self._lock is None:
                return
            self._closing.set()
            os.eventfd_write(self._wake, 1)
            if self._thread is not None:
                self._thread.join()
            os.close(self._wake)
            self._thread = None
            lock, self._lock = self._lock, None
            lock.close()

    def _refuse_callbacks(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError("a callback cannot attach or detach: it would wait for itself")

    def _take(self, lock: AgentLock, deadline: float) -> None:
        with FileWatch(self._side.control_file) as watch:
            while not lock.try_acquire():
                left = deadline - protocol.clock()
                if left <= 0:
                    raise AttachTimeoutError(f"the agent lock of {self._side.root} stayed taken")
                watch.wait(left)

    def _enter_quietly(self) -> None:
        """Let a freeze that is under way end before the program writes, and take back what an agent before us said.

        An agent may have died while frozen: the executor still trusts its FROZEN. The program has not begun, so it
        stands still by itself.
        """
        self._side.refresh()
        asked, answered = self._side.asked(), self._side.answered()
        if asked and answered and answered.state is AgentState.RUNNING and answered.nonce == asked.nonce:
            self._spent.append(asked.nonce)  # the agent before us has thawed from it
            return
        if asked is not None and self._wanted(asked):
            self._stand_by(asked)
            return
        try:
            self._side.say(AgentState.RUNNING, "", 0)
        except OSError as error:
            if asked is None:
                raise
            # A full disk must not keep an agent from cleaning up: no freeze is under way, and a later one asks anew.
            _log.warning("agent.json: RUNNING not written: %s", error, extra={"event": "status.unwritten"})

    def _stand_by(self, control: Control | None) -> None:
        with FileWatch(self._side.control_file) as watch:
            while control is not None and self._wanted(control):
                self._spent.append(control.nonce)
                Standstill(self._side, watch, lambda: None, lambda _: None).run(control)
                control = self._side.asked()

    def _wanted(self, control: Control) -> bool:
        return control.state is ControlState.REQUEST_FREEZE and control.nonce not in self._spent

    def _start_thread(self, attachment: Attachment) -> None:
        self._closing.clear()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, args=(attachment,), name="wvs-quiesce", daemon=True)
        self._thread.start()

    def _run(self, attachment: Attachment) -> None:
        with FileWatch(self._side.control_file) as watch:
            while not self._closing.is_set():
                try:
                    attachment.confirm_if_due()
                    self._look(watch, attachment)
                except Exception:
                    # Nobody would ack if this thread ended: every freeze would fail, though none would be wrong.
                    _log.exception("the watcher goes on after an error", extra={"event": "watcher.failed"})
                watch.wait(_IDLE, self._wake)

    def _look(self, watch: FileWatch, attachment: Attachment) -> None:
        if not watch.changed():
            return
        control = self._side.asked()
        if control is not None and self._wanted(control):
            self._spent.append(control.nonce)
            attachment.confirm()
            Standstill(
                self._side,
                watch,
                self._on_freeze,
                self._on_resume,
                on_lease=self._on_lease,
                handles=self._handles,
            ).run(control)
            attachment.resumed()
            watch.hasten()

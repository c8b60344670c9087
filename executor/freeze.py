"""The freeze: the agent stands still, or nobody is there (SPEC §8). Fail closed: no valid ack, no freeze."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import structlog

from executor import contract
from executor.contract import AgentReport, ExecuteTask, ExecutorFault, FaultReason, StopSignal
from executor.control_file import ControlFile, Renewer
from executor.faults import fault_of
from executor.layout import WorkspaceLayout
from observation import tracing
from wvs_agent import protocol
from wvs_agent.protocol import AgentLock, AgentState, AgentStatus, ControlState, FileWatch, UnsafeFileError

_log = structlog.get_logger(__name__)
_CHECK_PATIENCE: Final = 0.5
"""Seconds in which check() looks again at an agent.json that another mount is just replacing."""


class FreezeRefused(ExecutorFault):
    """The agent answered, and did not stand still."""


class FreezeConfig(Protocol):
    """What a freeze reads of the executor's configuration; all in seconds."""

    @property
    def quiesce_timeout(self) -> float:
        """How long to wait for the ack."""
        ...

    @property
    def freeze_lease(self) -> float:
        """How long each renewal is good for."""
        ...

    @property
    def freeze_max(self) -> float:
        """No lease outlives the ack by more than this."""
        ...


@contextmanager
def freeze(
    ws: WorkspaceLayout,
    request: ExecuteTask,
    config: FreezeConfig,
    stop: StopSignal,
    *,
    check: Callable[[], None] | None = None,
) -> Iterator[Freeze]:
    """The agent stands still, or cannot attach, until the context ends; then it is told to go on, whatever happened.

    The caller holds `.wvs/lock`; while the agent is waited for, `check` is asked whether to go on, several times a
    second: it raises as `Held.check` does. Without it the stop alone ends the wait.

    Raises ExecutorFault (QUIESCE_TIMEOUT: no ack, or the agent refused; UNSAFE_PATH: a planted file, no agent.lock;
    NO_SPACE, UNAVAILABLE, INTERNAL: control.json cannot be written) and Stopped. At the end it waits for the agent's
    answer, for at most 5 s, unless the body raised.
    """
    stop.check()
    current = _read_current(ws)
    quiet = Freeze(ws, request, config, current, _open_lock(ws))
    finished = False
    try:
        with tracing.span("executor.quiesce"):
            quiet._begin(stop, check or stop.check)
        seen = quiet.report
        _log.info("freeze.began", attached=seen.attached, agent_id=seen.agent_id, wait_seconds=seen.wait_seconds)
        yield quiet
        finished = True
    finally:
        quiet._end(hear_answer=finished)
        seen = quiet.report
        _log.info("freeze.ended", attached=seen.attached, freeze_seconds=seen.freeze_seconds, resumed=seen.resumed)


class Freeze:
    """One freeze, as freeze() gives it."""

    def __init__(
        self, ws: WorkspaceLayout, request: ExecuteTask, config: FreezeConfig, current: str, lock: AgentLock
    ) -> None:
        self.attached = True
        """False: nobody is attached as the agent, and nobody can attach, for we hold agent.lock."""
        lease = min(config.freeze_lease, config.freeze_max)
        self._ws = ws
        self._config = config
        self._current = current
        self._lock = lock
        self._watch = FileWatch(ws.agent_file)
        self._control = ControlFile(ws, request, current=current, lease_seconds=lease)
        self._renewer = Renewer(self._control, lease)
        self._ack: AgentStatus | None = None
        self._asked_at = self._acked_at = self._resumed_at = 0.0
        self._answer: AgentStatus | None = None
        self._resumed: bool | None = None

    def check(self, *, margin: float = 0.0) -> None:
        """The agent stands still since its ack, and will for `margin` seconds more. Not attached: always so.

        Raises ExecutorFault(QUIESCE_EXPIRED), or UNSAFE_PATH for a planted agent.json. Only a renewal that the agent
        says it saw counts: its lease of that renewal began after ours, so it ends after ours, whatever its clock is.
        """
        if not self.attached:
            return
        status = self._agent_now()
        if status is None or self._ack is None:
            raise ExecutorFault(FaultReason.QUIESCE_EXPIRED, "agent.json is missing or not whole")
        if status.state is not AgentState.FROZEN or status.nonce != self._control.nonce:
            raise ExecutorFault(FaultReason.QUIESCE_EXPIRED, f"the agent went on by itself: it says {status.state}")
        if status.agent_id != self._ack.agent_id:
            raise ExecutorFault(FaultReason.QUIESCE_EXPIRED, "another agent attached during the freeze")
        lease = self._control.lease(status.renewal)
        if lease is None or not lease.stands(margin=margin):
            left = 0.0 if lease is None else lease.remaining()
            raise ExecutorFault(FaultReason.QUIESCE_EXPIRED, f"the lease has {left:.3f} s left, {margin:.3f} s needed")

    @property
    def report(self) -> AgentReport:
        """What was seen of the agent; complete once the context has ended."""
        if not self.attached:
            return AgentReport(attached=False)
        return AgentReport(
            attached=True,
            agent_id=self._ack.agent_id if self._ack else None,
            wait_seconds=max(self._acked_at - self._asked_at, 0.0),
            freeze_seconds=max(self._resumed_at - self._acked_at, 0.0) if self._ack else 0.0,
            resumed=self._resumed,
            current_seen=self._answer.current if self._answer else None,
            old_handles=self._answer.old_handles if self._answer else (),
        )

    def _begin(self, stop: StopSignal, check: Callable[[], None]) -> None:
        with _faults():
            if self._lock.try_acquire():
                self.attached = False
                return
            _log.info("freeze.asked", limit_seconds=self._config.quiesce_timeout)
            self._control.prepare()
            self._asked_at = protocol.clock()
            self._control.ask()
            self._renewer.start(until=self._asked_at + self._config.quiesce_timeout + self._config.freeze_max)
            self._await_ack(stop, check)

    def _await_ack(self, stop: StopSignal, check: Callable[[], None]) -> None:
        """Wait for FROZEN with our nonce, or for the lock: an agent that died cannot write any more."""
        deadline = self._asked_at + self._config.quiesce_timeout
        while True:
            check()
            if self._lock.try_acquire():
                self.attached = False
                return
            self._watch.refresh()
            status = protocol.read_agent(self._ws.agent_file)
            if status is not None and status.nonce == self._control.nonce:
                break
            left = deadline - protocol.clock()
            if left <= 0:
                raise ExecutorFault(
                    FaultReason.QUIESCE_TIMEOUT, f"no FROZEN within {self._config.quiesce_timeout:g} s of the request"
                )
            self._watch.wait(left, stop.fileno())
        if status.state is not AgentState.FROZEN:
            raise FreezeRefused(FaultReason.QUIESCE_TIMEOUT, f"agent {status.agent_id} refused the freeze")
        self._ack, self._acked_at = status, protocol.clock()
        self._renewer.limit(until=self._acked_at + self._config.freeze_max)

    def _agent_now(self) -> AgentStatus | None:
        """agent.json as it is now; looks again for a moment while there is no whole one."""
        until = protocol.clock() + _CHECK_PATIENCE
        self._watch.hasten()
        with _faults():
            while True:
                self._watch.refresh()
                status = protocol.read_agent(self._ws.agent_file)
                left = until - protocol.clock()
                if status is not None or left <= 0:
                    return status
                self._watch.wait(left)

    def _end(self, *, hear_answer: bool) -> None:
        """Thaw first, then all the rest. Never raises."""
        try:
            self._renewer.stop()
            if self._control.asked or self._leftover_request():
                target = _link_of(self._ws) or self._current
                told = self._control.resume(target)
                self._resumed_at = protocol.clock()
                if self.attached:
                    self._resumed = False
                    if told and hear_answer:
                        self._hear_answer(target)
        finally:
            self._renewer.join()
            self._control.close()
            self._watch.close()
            self._lock.close()

    def _leftover_request(self) -> bool:
        """Whether a dead executor's REQUEST_FREEZE lies there, for which the next agent to attach would stand still."""
        try:
            left = protocol.read_control(self._ws.control)
        except UnsafeFileError:
            return True
        return left is not None and left.state is ControlState.REQUEST_FREEZE

    def _hear_answer(self, target: str) -> None:
        """Wait for RUNNING with our nonce, at most 5 s; an agent that is gone, or plants a file, gives none."""
        deadline = self._resumed_at + protocol.RESUME_ANSWER_LIMIT
        self._watch.hasten()
        try:
            while not self._lock.try_acquire():
                self._watch.refresh()
                status = protocol.read_agent(self._ws.agent_file)
                if status is not None and status.nonce == self._control.nonce and status.state is AgentState.RUNNING:
                    self._answer, self._resumed = status, status.current == target
                    return
                left = deadline - protocol.clock()
                if left <= 0:
                    return
                self._watch.wait(left)
        except (OSError, UnsafeFileError):
            return


def _read_current(ws: WorkspaceLayout) -> str:
    """Where `current` points; it must be a link to one of our live trees."""
    target = _link_of(ws)
    if target is None or not contract.matches(r"live/" + contract.LIVE_ID_PATTERN.strip("^$"), target):
        raise ExecutorFault(FaultReason.UNSAFE_PATH, f"current is not a link to a live tree: {target!r}")
    return target


def _link_of(ws: WorkspaceLayout) -> str | None:
    try:
        return str(ws.current.readlink())
    except OSError:
        return None


def _open_lock(ws: WorkspaceLayout) -> AgentLock:
    with _faults():
        try:
            return AgentLock(ws.agent_lock)
        except FileNotFoundError as error:
            raise ExecutorFault(FaultReason.UNSAFE_PATH, "agent.lock is missing: who is attached is unknown") from error


@contextmanager
def _faults() -> Iterator[None]:
    """The disk's errors in the words of the port."""
    try:
        yield
    except UnsafeFileError as error:
        raise ExecutorFault(FaultReason.UNSAFE_PATH, str(error)) from error
    except OSError as error:
        raise fault_of(error) from error

"""The way out of an agent lock that nobody answers for (SPEC §8): who seems to hold it, and taking it away, once.

A lock can outlive its use: an agent that hangs for ever, a program that inherited the descriptor, a mount that forgot
to free it when its serving process was killed. A new file in the place of the old one is free, whoever holds the old.
"""

from __future__ import annotations

import structlog

from executor import fence
from executor.contract import ExecuteTask, ExecutorFault, FaultReason, OperationName, StopSignal
from executor.descriptor import fsync_directory
from executor.fence import Held
from executor.freeze import FreezeConfig, FreezeRefused, freeze
from executor.layout import WorkspaceLayout
from executor.sweep import refuse_planted
from executor.upkeep import AgentSeen, Detached, DetachOutcome
from wvs_agent import protocol
from wvs_agent.protocol import AgentLock, AgentStatus, UnsafeFileError

_log = structlog.get_logger(__name__)
_ASKED_AS = "detach"
"""What control.json names in place of a task."""


def look(ws: WorkspaceLayout) -> AgentSeen:
    """See upkeep.Upkeep. Raises FileNotFoundError where there is no agent.lock."""
    lock = AgentLock(ws.agent_lock)
    try:
        attached = not lock.try_acquire()
    finally:
        lock.close()
    status = _said(ws)
    if status is None:
        return AgentSeen(attached)
    return AgentSeen(
        attached,
        agent_id=status.agent_id,
        state=status.state.value,
        current=status.current,
        old_handles=status.old_handles,
        updated_at=status.updated_at,
    )


def detach(ws: WorkspaceLayout, number: int, config: FreezeConfig, stop: StopSignal) -> Detached:
    """See upkeep.Upkeep. An agent that answers a freeze within the quiesce time-out keeps its lock."""
    refuse_planted(ws)
    with fence.hold(ws, number, stop) as held:
        outcome = _ask(ws, number, config, stop, held)
        status = _said(ws)
        name = "" if status is None else status.agent_id
        if outcome is DetachOutcome.DETACHED:
            held.check(force=True)
            _replace_lock(ws)
            _log.warning("agent.detached", wsid=ws.wsid, agent_id=name)
    return Detached(outcome, name)


def _ask(ws: WorkspaceLayout, number: int, config: FreezeConfig, stop: StopSignal, held: Held) -> DetachOutcome:
    """Ask the agent to stand still a last time: whether anybody is there, and answers."""
    request = ExecuteTask(
        task_id=_ASKED_AS,
        wsid=ws.wsid,
        op=OperationName.SNAPSHOT_CREATE,  # the tree stays where it is
        fence=number,
        timeout_seconds=config.quiesce_timeout,
    )
    try:
        with freeze(ws, request, config, stop, check=held.check) as quiet:
            pass
    except FreezeRefused:
        return DetachOutcome.ANSWERS
    except ExecutorFault as fault:
        if fault.reason is not FaultReason.QUIESCE_TIMEOUT:
            raise
        return DetachOutcome.DETACHED
    return DetachOutcome.ANSWERS if quiet.attached else DetachOutcome.NOBODY


def _replace_lock(ws: WorkspaceLayout) -> None:
    """Whoever waits for the old file finds out by looking at the path again, as AgentLock does."""
    fresh = protocol.stage_file(ws.agent_lock, b"", suffix="new", mode=0o666)
    fresh.rename(ws.agent_lock)
    fsync_directory(ws.wvs)


def _said(ws: WorkspaceLayout) -> AgentStatus | None:
    """What agent.json says, maybe of an agent that is long gone."""
    try:
        return protocol.read_agent(ws.agent_file)
    except UnsafeFileError:
        return None

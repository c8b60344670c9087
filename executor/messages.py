"""A task's values as messages of proto/wvs/executor/v1, and back; both sides use the same functions.

Texts for people travel as text, with what is no Unicode escaped.
"""

from __future__ import annotations

from typing import Final, TypeVar

from google.protobuf.message import Message

from executor.contract import (
    AgentReport,
    ExecuteTask,
    ExecutorFault,
    FaultReason,
    OperationName,
    Outcome,
    Progress,
    StopReason,
)
from executor.wire import executor_pb2 as pb

_OPERATION: Final = "OPERATION_"
_FAULT: Final = "FAULT_REASON_"
_STOP: Final = "STOP_REASON_"
T = TypeVar("T")


def text_of(text: str) -> str:
    """What a message can carry."""
    return text.encode(errors="backslashreplace").decode()


# — a task —


def attempt_to_wire(request: ExecuteTask) -> pb.Attempt:
    """A request of contract.Executor."""
    return pb.Attempt(
        task_id=request.task_id,
        wsid=request.wsid,
        operation=pb.Operation.Value(f"{_OPERATION}{OperationName(request.op).name}"),
        fence=request.fence,
        timeout_seconds=request.timeout_seconds,
        snapshot_id=request.snapshot_id,
        source_live_id=request.source_live_id,
        message=text_of(request.message),
        request_id=text_of(request.request_id),
        traceparent=text_of(request.traceparent),
        attempt=request.attempt,
    )


def attempt_from_wire(wire: pb.Attempt) -> ExecuteTask:
    """Raises ExecutorFault(INTERNAL) for an operation that this release does not know. Ids are checked later."""
    name = pb.Operation.Name(wire.operation) if wire.operation in pb.Operation.values() else ""
    try:
        op = OperationName[name.removeprefix(_OPERATION)]
    except KeyError:
        raise ExecutorFault(FaultReason.INTERNAL, f"operation {wire.operation} is unknown to this executor") from None
    return ExecuteTask(
        task_id=wire.task_id,
        wsid=wire.wsid,
        op=op,
        fence=wire.fence,
        timeout_seconds=wire.timeout_seconds,
        snapshot_id=_given(wire, "snapshot_id", wire.snapshot_id),
        source_live_id=_given(wire, "source_live_id", wire.source_live_id),
        message=wire.message,
        request_id=wire.request_id,
        traceparent=wire.traceparent,
        attempt=wire.attempt,
    )


def progress_to_wire(progress: Progress) -> pb.Progress:
    """How far a run is."""
    return pb.Progress(
        phase=progress.phase,
        entries_done=progress.entries_done,
        entries_total=progress.entries_total,
        frozen=progress.frozen,
    )


def progress_from_wire(wire: pb.Progress) -> Progress:
    """How far a run is."""
    return Progress(wire.phase, wire.entries_done, _given(wire, "entries_total", wire.entries_total), wire.frozen)


def outcome_to_wire(outcome: Outcome) -> pb.Outcome:
    """What an operation left on disk."""
    return pb.Outcome(
        live_id=outcome.live_id,
        entries=outcome.entries,
        bytes=outcome.bytes,
        manifest_digest=outcome.manifest_digest,
        clone_driver=outcome.clone_driver,
        switched_at=outcome.switched_at,
        already_done=outcome.already_done,
        agent=None if outcome.agent is None else _agent_to_wire(outcome.agent),
        timings=dict(outcome.timings),
        warnings=map(text_of, outcome.warnings),
    )


def outcome_from_wire(wire: pb.Outcome) -> Outcome:
    """What an operation left on disk."""
    return Outcome(
        live_id=_given(wire, "live_id", wire.live_id),
        entries=_given(wire, "entries", wire.entries),
        bytes=_given(wire, "bytes", wire.bytes),
        manifest_digest=_given(wire, "manifest_digest", wire.manifest_digest),
        clone_driver=_given(wire, "clone_driver", wire.clone_driver),
        switched_at=_given(wire, "switched_at", wire.switched_at),
        already_done=wire.already_done,
        agent=_agent_from_wire(wire.agent) if wire.HasField("agent") else None,
        timings=dict(wire.timings),
        warnings=tuple(wire.warnings),
    )


def _agent_to_wire(agent: AgentReport) -> pb.AgentReport:
    return pb.AgentReport(
        attached=agent.attached,
        agent_id=None if agent.agent_id is None else text_of(agent.agent_id),
        wait_seconds=agent.wait_seconds,
        freeze_seconds=agent.freeze_seconds,
        resumed=agent.resumed,
        current_seen=None if agent.current_seen is None else text_of(agent.current_seen),
        old_handles=map(text_of, agent.old_handles),
    )


def _agent_from_wire(wire: pb.AgentReport) -> AgentReport:
    return AgentReport(
        attached=wire.attached,
        agent_id=_given(wire, "agent_id", wire.agent_id),
        wait_seconds=wire.wait_seconds,
        freeze_seconds=wire.freeze_seconds,
        resumed=_given(wire, "resumed", wire.resumed),
        current_seen=_given(wire, "current_seen", wire.current_seen),
        old_handles=tuple(wire.old_handles),
    )


# — how a call went wrong —


def fault_to_wire(fault: ExecutorFault) -> pb.Fault:
    """Why an attempt failed."""
    reason = pb.FaultReason.Value(f"{_FAULT}{fault.reason.name}")
    return pb.Fault(
        reason=reason,
        message=text_of(fault.message),
        outcome_unknown=fault.outcome_unknown,
        not_begun=not fault.begun,
    )


def fault_from_wire(wire: pb.Fault) -> ExecutorFault:
    """A reason that this release does not know is INTERNAL, and the outcome unknown."""
    name = pb.FaultReason.Name(wire.reason) if wire.reason in pb.FaultReason.values() else ""
    try:
        reason = FaultReason[name.removeprefix(_FAULT)]
    except KeyError:
        message = f"fault {wire.reason}: {wire.message}"
        return ExecutorFault(FaultReason.INTERNAL, message, outcome_unknown=True)
    return ExecutorFault(reason, wire.message, outcome_unknown=wire.outcome_unknown, begun=not wire.not_begun)


def stopped_to_wire(reason: StopReason) -> pb.Stopped:
    """Why a run was stopped."""
    return pb.Stopped(reason=pb.StopReason.Value(f"{_STOP}{reason.name}"))


def stop_from_wire(wire: pb.Stopped) -> StopReason:
    """Why a run was stopped; a reason that this release does not know is SHUTDOWN: nothing is lost by trying again."""
    name = pb.StopReason.Name(wire.reason) if wire.reason in pb.StopReason.values() else ""
    known = StopReason.__members__.get(name.removeprefix(_STOP))
    return known or StopReason.SHUTDOWN


def _given(wire: Message, field: str, value: T) -> T | None:
    return value if wire.HasField(field) else None

"""The executor over gRPC: one of many, by the workspace (SPEC §7). What a worker and a scheduler call.

A connection that is lost at any time leaves an unknown outcome, never a guess. Before a run is asked for, a sign of
life is: where there is none, it is known that nothing was begun. A run that is stopped is canceled, then asked about
with a fence that is higher than its own by one: whatever of it may still be on its way finds itself overtaken. That
harms nobody, for every later attempt's fence in this workspace is at least as high.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, Final, Protocol

import grpc

from executor import messages, upkeep_messages
from executor.addresses import Address
from executor.config import ExecutorConfigError
from executor.contract import (
    ExecuteTask,
    ExecutorFault,
    FaultReason,
    Outcome,
    ProgressSink,
    Stopped,
    StopReason,
    StopSignal,
)
from executor.links import Link, Lost
from executor.routing import executor_of
from executor.tls import Tls, insecure_remote_allowed, read_tls
from executor.upkeep import AgentSeen, Detached, Inventory, Purged, SweepRequest, Swept
from executor.wire import executor_pb2 as pb

_SLACK_SECONDS: Final = 5.0
"""The caller stops a run when its time is up; the deadline of gRPC is for a caller who does not."""
_SETTLE_SECONDS: Final = 60.0
"""Stopping takes an executor seconds: a child is killed within 5 s, and what it left is deleted for 20 s at most."""
_LOOK_SECONDS: Final = 60.0


def open_remote_executor(addrs: Sequence[str]) -> RemoteExecutor:
    """With EXECUTOR_TLS_CA, _CERT and _KEY from the environment. Raises ExecutorConfigError. Reaches nobody yet.

    Without them every address must be on loopback, unless EXECUTOR_INSECURE_ALLOW_REMOTE says otherwise (SPEC §7).
    """
    tls = read_tls()
    remote = [addr for addr in parse_addrs(addrs) if not Address.parse(addr).is_loopback]
    if remote and tls is None and not insecure_remote_allowed():
        raise ExecutorConfigError(
            f"EXECUTOR_ADDRS={','.join(remote)}: plaintext is for loopback only. Give EXECUTOR_TLS_CA, "
            "EXECUTOR_TLS_CERT and EXECUTOR_TLS_KEY, or set EXECUTOR_INSECURE_ALLOW_REMOTE=1."
        )
    return RemoteExecutor(addrs, tls)


class RemoteExecutor:
    """Implements contract.Executor and upkeep.Upkeep by many services. Thread-safe."""

    def __init__(self, addrs: Sequence[str], tls: Tls | None = None) -> None:
        """Raises ExecutorConfigError for an empty list, an address that is none, or one that stands twice."""
        self._addrs = parse_addrs(addrs)
        self._links = {addr: Link(addr, tls) for addr in self._addrs}

    def execute(self, request: ExecuteTask, *, stop: StopSignal, progress: ProgressSink) -> Outcome:
        """See contract.Executor."""
        stop.check()
        link = self._link(request.wsid)
        _find(link, stop)
        wire = pb.ExecuteRequest(attempt=messages.attempt_to_wire(request))
        events = link.stream(link.stub.Execute, wire, stop=stop, timeout=request.timeout_seconds + _SLACK_SECONDS)
        try:
            with closing(events):
                return _ending(events, progress, link.addr)
        except Lost as lost:
            reason = stop.reason or (StopReason.TIMED_OUT if lost.timed_out else None)
            if reason is None:
                raise ExecutorFault(FaultReason.UNAVAILABLE, str(lost), outcome_unknown=True) from lost
        return self._settle(link, request, reason)

    def probe(self, request: ExecuteTask, *, stop: StopSignal) -> Outcome | None:
        """See contract.Executor."""
        return self._probe(self._link(request.wsid), request, stop, request.timeout_seconds + _SLACK_SECONDS)

    def workspaces(self) -> list[str]:
        """See upkeep.Upkeep: all executors work on one volume, so any one that answers will do."""
        problems = []
        for link in self._links.values():
            try:
                answer = link.ask(link.stub.ListWorkspaces, pb.ListWorkspacesRequest(), timeout=_LOOK_SECONDS)
                _refuse_fault(answer)
            except Lost as lost:
                problems.append(str(lost))
            except ExecutorFault as fault:
                problems.append(f"{link.addr}: {fault.message}")
            else:
                return list(answer.wsids)
        raise ExecutorFault(FaultReason.UNAVAILABLE, "; ".join(problems))

    def inventory(self, wsid: str, *, descriptors: bool) -> Inventory | None:
        """See upkeep.Upkeep."""
        link = self._link(wsid)
        wire = pb.GetInventoryRequest(wsid=messages.text_of(wsid), descriptors=descriptors)
        with _known():
            answer = link.ask(link.stub.GetInventory, wire, timeout=_LOOK_SECONDS)
        _refuse_fault(answer)
        return upkeep_messages.inventory_from_wire(answer.inventory) if answer.HasField("inventory") else None

    def last_written(self, wsid: str, live_id: str, *, stop: StopSignal) -> datetime:
        """See upkeep.Upkeep."""
        link = self._link(wsid)
        wire = pb.GetLastWrittenRequest(wsid=messages.text_of(wsid), live_id=messages.text_of(live_id))
        with _known(stop):
            answer = link.ask(link.stub.GetLastWritten, wire, stop=stop)
        _refuse_stopped(answer)
        return upkeep_messages.moment_from_wire(answer)

    def sweep(self, request: SweepRequest, *, stop: StopSignal) -> Swept:
        """See upkeep.Upkeep."""
        link = self._link(request.wsid)
        with _known(stop):
            answer = link.ask(link.stub.Sweep, upkeep_messages.sweep_to_wire(request), stop=stop)
        _refuse_stopped(answer)
        return upkeep_messages.swept_from_wire(answer.swept)

    def purge(self, wsid: str, *, fence: int, stop: StopSignal) -> Purged:
        """See upkeep.Upkeep."""
        link = self._link(wsid)
        with _known(stop):
            answer = link.ask(link.stub.Purge, pb.PurgeRequest(wsid=messages.text_of(wsid), fence=fence), stop=stop)
        _refuse_stopped(answer)
        return upkeep_messages.purged_from_wire(answer.purged)

    def agent(self, wsid: str) -> AgentSeen | None:
        """See upkeep.Upkeep."""
        link = self._link(wsid)
        with _known():
            answer = link.ask(
                link.stub.GetAgent, pb.GetAgentRequest(wsid=messages.text_of(wsid)), timeout=_LOOK_SECONDS
            )
        _refuse_fault(answer)
        return upkeep_messages.agent_from_wire(answer.agent) if answer.HasField("agent") else None

    def detach(self, wsid: str, *, fence: int, stop: StopSignal) -> Detached:
        """See upkeep.Upkeep."""
        link = self._link(wsid)
        with _known(stop):
            wire = pb.DetachRequest(wsid=messages.text_of(wsid), fence=fence)
            answer = link.ask(link.stub.Detach, wire, stop=stop)
        _refuse_stopped(answer)
        return upkeep_messages.detached_from_wire(answer.detached)

    def close(self) -> None:
        """Close the connections; calls that are under way are lost."""
        for link in self._links.values():
            link.close()

    def _link(self, wsid: str) -> Link:
        return self._links[executor_of(wsid, self._addrs)]

    def _settle(self, link: Link, request: ExecuteTask, reason: StopReason) -> Outcome:
        """What became of a run that was canceled. The probe waits for the workspace's lock, so the run is over then."""
        above = dataclasses.replace(request, fence=request.fence + 1)
        try:
            found = self._probe(link, above, None, _SETTLE_SECONDS)
        except ExecutorFault as fault:
            message = f"stopped ({reason}), and what it did cannot be found out: {fault.message}"
            raise ExecutorFault(fault.reason, message, outcome_unknown=True) from fault
        if found is None:
            raise Stopped(reason)
        return dataclasses.replace(found, already_done=False)

    @staticmethod
    def _probe(link: Link, request: ExecuteTask, stop: StopSignal | None, timeout: float) -> Outcome | None:
        wire = pb.ProbeRequest(attempt=messages.attempt_to_wire(request))
        _find(link, stop)
        with _known(stop):
            answer = link.ask(link.stub.Probe, wire, stop=stop, timeout=timeout)
        _refuse_stopped(answer)
        return messages.outcome_from_wire(answer.outcome) if answer.HasField("outcome") else None


def parse_addrs(addrs: Sequence[str]) -> tuple[str, ...]:
    """Raises ExecutorConfigError for what EXECUTOR_ADDRS cannot name."""
    try:
        parsed = [str(Address.parse(addr.strip())) for addr in addrs]
    except ValueError as error:
        raise ExecutorConfigError(f"EXECUTOR_ADDRS: {error}") from None
    if not parsed:
        raise ExecutorConfigError("EXECUTOR_ADDRS names no executor")
    if len(set(parsed)) != len(parsed):
        raise ExecutorConfigError(f"EXECUTOR_ADDRS={','.join(parsed)} names an executor twice")
    return tuple(parsed)


def _ending(events: Iterable[pb.ExecuteResponse], progress: ProgressSink, addr: str) -> Outcome:
    """Read to the end. Raises what the end says, and Lost if there is none."""
    for event in events:
        if event.HasField("progress"):
            progress(messages.progress_from_wire(event.progress))
        elif event.HasField("outcome"):
            return messages.outcome_from_wire(event.outcome)
        else:
            _refuse_stopped(event)
    raise Lost(addr, grpc.StatusCode.UNKNOWN, "the executor said nothing at the end")


def _find(link: Link, stop: StopSignal | None) -> None:
    """The executor is there. Raises ExecutorFault(UNAVAILABLE), not begun, and Stopped."""
    try:
        link.reach(stop)
    except Lost as lost:
        raise ExecutorFault(FaultReason.UNAVAILABLE, str(lost), begun=False) from lost


@contextmanager
def _known(stop: StopSignal | None = None) -> Iterator[None]:
    """A question that was lost has no outcome: it was stopped, or is UNAVAILABLE."""
    if stop is not None:
        stop.check()
    try:
        yield
    except Lost as lost:
        if stop is not None:
            stop.check()
        raise ExecutorFault(FaultReason.UNAVAILABLE, str(lost)) from lost


class _Faulty(Protocol):
    """An answer that may be a fault."""

    @property
    def fault(self) -> pb.Fault: ...

    def HasField(self, field_name: Any, /) -> bool: ...  # noqa: N802 — protobuf's


class _Stoppable(_Faulty, Protocol):
    """An answer that may say that the work was stopped."""

    @property
    def stopped(self) -> pb.Stopped: ...


def _refuse_fault(answer: _Faulty) -> None:
    if answer.HasField("fault"):
        raise messages.fault_from_wire(answer.fault)


def _refuse_stopped(answer: _Stoppable) -> None:
    _refuse_fault(answer)
    if answer.HasField("stopped"):
        raise Stopped(messages.stop_from_wire(answer.stopped))

"""The port as gRPC serves it (SPEC §7): proto/wvs/executor/v1 in front of a LocalExecutor.

What goes wrong with the work is a value of the answer. What is stopped goes on until it has stopped, whoever is still
there to hear of it: the workspace's lock is free no sooner.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Final, Protocol, TypeVar

import structlog
from grpc import ServicerContext

from executor import carried, messages, upkeep_messages
from executor.contract import ExecuteTask, Executor, ExecutorFault, FaultReason, Progress, Stopped, StopSignal
from executor.relay import Relay
from executor.runs import Runs
from executor.upkeep import Upkeep
from executor.wire import executor_pb2 as pb
from executor.wire.executor_pb2_grpc import ExecutorServiceServicer

T = TypeVar("T")
_LEVELS: Final = {"execute.failed": logging.WARNING, "execute.crashed": logging.ERROR}
_log = structlog.get_logger(__name__)


class Served(Executor, Upkeep, Protocol):
    """Both halves of the port."""


class ExecutorService(ExecutorServiceServicer):
    """Each call is served by a thread of gRPC's; a run has one of its own, which outlives its children."""

    def __init__(self, executor: Served, *, runs: Runs, why_dead: Callable[[], str | None]) -> None:
        """`why_dead` says at once what is wrong with the mount; then nothing is begun on it."""
        self._executor = executor
        self._runs = runs
        self._why_dead = why_dead

    def Execute(self, request: pb.ExecuteRequest, context: ServicerContext) -> Iterator[pb.ExecuteResponse]:
        """Serve `Execute`."""
        try:
            task = messages.attempt_from_wire(request.attempt)
            # Not bound across a yield: who iterates goes on to serve others.
            with carried.serving(carried.of_call(context), task):
                stop = self._begin(context)
                relay: Relay[pb.ExecuteResponse, pb.ExecuteResponse] = Relay()
                run = partial(copy_context().run, self._run, task, stop, relay)
            threading.Thread(target=run, name=task.task_id, daemon=True).start()
        except ExecutorFault as fault:
            yield pb.ExecuteResponse(fault=messages.fault_to_wire(fault))
            return
        yield from relay

    def _begin(self, context: ServicerContext) -> StopSignal:
        try:
            self._refuse_dead_mount()
            return self._runs.begin(context)
        except ExecutorFault as fault:
            _log.warning("execute.refused", reason=fault.reason.value, error=fault.message)
            raise

    def _run(self, task: ExecuteTask, stop: StopSignal, relay: Relay[pb.ExecuteResponse, pb.ExecuteResponse]) -> None:
        def tell(progress: Progress) -> None:
            relay.tell(pb.ExecuteResponse(progress=messages.progress_to_wire(progress)))

        _log.info("execute.began", fence=task.fence)
        begun = time.monotonic()
        said: dict[str, object]
        try:
            outcome = self._executor.execute(task, stop=stop, progress=tell)
            ending = pb.ExecuteResponse(outcome=messages.outcome_to_wire(outcome))
            event, said = "execute.done", {"already_done": outcome.already_done}
        except ExecutorFault as fault:
            ending = pb.ExecuteResponse(fault=messages.fault_to_wire(fault))
            event, said = "execute.failed", {"reason": fault.reason.value, "error": fault.message}
        except Stopped as stopped:
            ending = pb.ExecuteResponse(stopped=messages.stopped_to_wire(stopped.reason))
            event, said = "execute.stopped", {"reason": stopped.reason.value}
        except Exception as error:
            ending = pb.ExecuteResponse(fault=messages.fault_to_wire(_crash(error)))
            event, said = "execute.crashed", {"exc_info": error}
        finally:
            self._runs.end(stop)
        level = _LEVELS.get(event, logging.INFO)
        _log.log(level, event, seconds=round(time.monotonic() - begun, 3), **said)
        relay.end(ending)

    def Probe(self, request: pb.ProbeRequest, context: ServicerContext) -> pb.ProbeResponse:
        """Serve `Probe`."""

        def probe(stop: StopSignal) -> pb.ProbeResponse:
            task = messages.attempt_from_wire(request.attempt)
            with carried.serving(carried.of_call(context), task):
                found = self._executor.probe(task, stop=stop)
                _log.info("probe.answered", published=found is not None)
            return pb.ProbeResponse(outcome=None if found is None else messages.outcome_to_wire(found))

        return self._answer(pb.ProbeResponse, context, probe)

    def ListWorkspaces(self, request: pb.ListWorkspacesRequest, context: ServicerContext) -> pb.ListWorkspacesResponse:
        """Serve `ListWorkspaces`."""
        return self._answer(
            pb.ListWorkspacesResponse,
            context,
            lambda stop: pb.ListWorkspacesResponse(wsids=self._executor.workspaces()),
        )

    def GetInventory(self, request: pb.GetInventoryRequest, context: ServicerContext) -> pb.GetInventoryResponse:
        """Serve `GetInventory`."""

        def look(stop: StopSignal) -> pb.GetInventoryResponse:
            found = self._executor.inventory(request.wsid, descriptors=request.descriptors)
            return pb.GetInventoryResponse(
                inventory=None if found is None else upkeep_messages.inventory_to_wire(found)
            )

        return self._answer(pb.GetInventoryResponse, context, look)

    def GetLastWritten(self, request: pb.GetLastWrittenRequest, context: ServicerContext) -> pb.GetLastWrittenResponse:
        """Serve `GetLastWritten`."""

        def look(stop: StopSignal) -> pb.GetLastWrittenResponse:
            at = self._executor.last_written(request.wsid, request.live_id, stop=stop)
            return upkeep_messages.moment_to_wire(at)

        return self._answer(pb.GetLastWrittenResponse, context, look)

    def Sweep(self, request: pb.SweepRequest, context: ServicerContext) -> pb.SweepResponse:
        """Serve `Sweep`."""

        def sweep(stop: StopSignal) -> pb.SweepResponse:
            swept = self._executor.sweep(upkeep_messages.sweep_from_wire(request), stop=stop)
            return pb.SweepResponse(swept=upkeep_messages.swept_to_wire(swept))

        return self._answer(pb.SweepResponse, context, sweep)

    def Purge(self, request: pb.PurgeRequest, context: ServicerContext) -> pb.PurgeResponse:
        """Serve `Purge`."""

        def purge(stop: StopSignal) -> pb.PurgeResponse:
            purged = self._executor.purge(request.wsid, fence=request.fence, stop=stop)
            return pb.PurgeResponse(purged=upkeep_messages.purged_to_wire(purged))

        return self._answer(pb.PurgeResponse, context, purge)

    def GetAgent(self, request: pb.GetAgentRequest, context: ServicerContext) -> pb.GetAgentResponse:
        """Serve `GetAgent`."""

        def look(stop: StopSignal) -> pb.GetAgentResponse:
            seen = self._executor.agent(request.wsid)
            return pb.GetAgentResponse(agent=None if seen is None else upkeep_messages.agent_to_wire(seen))

        return self._answer(pb.GetAgentResponse, context, look)

    def Detach(self, request: pb.DetachRequest, context: ServicerContext) -> pb.DetachResponse:
        """Serve `Detach`."""

        def detach(stop: StopSignal) -> pb.DetachResponse:
            detached = self._executor.detach(request.wsid, fence=request.fence, stop=stop)
            return pb.DetachResponse(detached=upkeep_messages.detached_to_wire(detached))

        return self._answer(pb.DetachResponse, context, detach)

    def _answer(self, response: Callable[..., T], context: ServicerContext, work: Callable[[StopSignal], T]) -> T:
        """One question, answered in this thread; what goes wrong is an answer too."""
        with carried.serving(carried.of_call(context)):
            try:
                self._refuse_dead_mount()
                with self._runs.running(context) as stop:
                    return work(stop)
            except ExecutorFault as fault:
                return response(fault=messages.fault_to_wire(fault))
            except Stopped as stopped:
                return response(stopped=messages.stopped_to_wire(stopped.reason))
            except Exception as error:
                _log.exception("call.crashed")
                return response(fault=messages.fault_to_wire(_crash(error)))

    def _refuse_dead_mount(self) -> None:
        problem = self._why_dead()
        if problem is not None:
            raise ExecutorFault(FaultReason.UNAVAILABLE, problem, begun=False)


def _crash(error: Exception) -> ExecutorFault:
    return ExecutorFault(FaultReason.INTERNAL, f"{type(error).__name__}: {error}", outcome_unknown=True)

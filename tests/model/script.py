"""What happens in the calls of the executor, done to the fake executor of one worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from executor.contract import ExecuteTask, ExecutorFault, FaultReason, StopReason, StopSignal
from tasks.engine import Engine
from tasks.models import Task
from tasks.registry import operation_for
from tasks.services import cancel_task
from tests.factories import ACTOR
from tests.fakes import FakeExecutor, Step, nothing
from tests.model.happenings import Happening, Kind
from tests.waiting import LIMIT


class Script:
    """Makes the next calls of `fake` go as said; `worker` is the engine that makes them."""

    def __init__(self, fake: FakeExecutor, worker: Engine) -> None:
        self._fake = fake
        self._worker = worker
        self.worker_is_gone = False
        """It was told to go, and takes no task any more."""

    def play(self, executes: Iterable[Happening], probes: Iterable[Happening]) -> None:
        """Enter them; what was entered before and did not come to pass is forgotten."""
        self._fake.on_execute.clear()
        self._fake.on_probe.clear()
        self._fake.after = self._afterwards
        self._after: Step = nothing
        self._fake.on_execute.extend(partial(self._happen, one) for one in executes)
        self._fake.on_probe.extend(partial(self._happen, one) for one in probes)

    def _happen(self, happening: Happening, request: ExecuteTask, stop: StopSignal) -> None:
        def fail() -> None:
            raise ExecutorFault(happening.reason, "a test says so", outcome_unknown=happening.unknown)

        def cancel_and_fail() -> None:
            _cancel(request, stop)
            fail()

        def crash() -> None:
            raise RuntimeError("a test says so")

        before: dict[Kind, Callable[[], None]] = {
            Kind.FAULT: fail,
            Kind.AWAY: _away,
            Kind.CRASH: crash,
            Kind.LOST: lambda: _stop(StopReason.GUARD_LOST, request, stop),
            Kind.TIMED_OUT: lambda: _stop(StopReason.TIMED_OUT, request, stop),
            Kind.SHUTDOWN: lambda: self._shut_down(stop),
            Kind.CANCEL: lambda: self._cancel_and_hear(request, stop),
            Kind.CANCEL_AND_FAULT: cancel_and_fail,
        }
        after: dict[Kind, Step] = {
            Kind.UNHEARD: _unheard,
            Kind.LOST_AFTER: partial(_stop, StopReason.GUARD_LOST),
            Kind.CANCEL_AFTER: _cancel,
        }
        self._after = after.get(happening.kind, nothing)
        before.get(happening.kind, lambda: None)()

    def _afterwards(self, request: ExecuteTask, stop: StopSignal) -> None:
        after, self._after = self._after, nothing
        after(request, stop)

    def _shut_down(self, stop: StopSignal) -> None:
        self.worker_is_gone = True
        self._worker.stop_taking()
        self._worker.hand_back_all()
        stop.check()

    def _cancel_and_hear(self, request: ExecuteTask, stop: StopSignal) -> None:
        _cancel(request, stop)
        if operation_for(request.op).irrevocable:
            return
        # Its NOTIFY may have come before anybody listened.
        self._worker._supervisor.cancels.look()
        if not stop.wait(LIMIT):
            raise TimeoutError("nobody told the run of its cancel")
        stop.check()


def _stop(reason: StopReason, request: ExecuteTask, stop: StopSignal) -> None:
    stop.stop(reason)
    stop.check()


def _away() -> None:
    raise ExecutorFault(FaultReason.UNAVAILABLE, "a test says so", begun=False)


def _unheard(request: ExecuteTask, stop: StopSignal) -> None:
    raise ExecutorFault(FaultReason.UNAVAILABLE, "a test says so", outcome_unknown=True)


def _cancel(request: ExecuteTask, stop: StopSignal) -> None:
    assert Task.objects.get(pk=request.task_id).status == "RUNNING"
    cancel_task(task_id=request.task_id, actor=ACTOR, request_id="req-1")

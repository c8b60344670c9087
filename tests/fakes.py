"""The one fake: an executor at its port. It keeps the port's promises (SPEC §6, §7) in memory.

A task is published once and found done by a repeat; a fence that is higher than one's own forbids to publish; a stop
is obeyed until the publication. What it should do besides is said by steps, each of which serves one call.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from executor.contract import (
    INITIAL_LIVE_ID,
    ExecuteTask,
    ExecutorFault,
    FaultReason,
    OperationName,
    Outcome,
    ProgressSink,
    StopSignal,
    live_id_for,
)
from tests.waiting import LIMIT

Step = Callable[[ExecuteTask, StopSignal], None]


def nothing(request: ExecuteTask, stop: StopSignal) -> None:
    """A step that lets the call do what it does."""


def fault(reason: FaultReason, *, unknown: bool = False, begun: bool = True) -> Step:
    """A step that fails before anything is published."""

    def step(request: ExecuteTask, stop: StopSignal) -> None:
        raise ExecutorFault(reason, f"a test says {reason}", outcome_unknown=unknown, begun=begun)

    return step


class Gate:
    """A step that holds the call until `open()`; it obeys a stop unless told not to. `then` is what comes after."""

    def __init__(self, *, obeys: bool = True, then: Step = nothing) -> None:
        self._obeys = obeys
        self._then = then
        self._open = threading.Event()
        self._entered = threading.Event()
        self.stop: StopSignal | None = None

    def __call__(self, request: ExecuteTask, stop: StopSignal) -> None:
        self.stop = stop
        self._entered.set()
        if self._obeys:
            while not self._open.is_set() and not stop.wait(0.02):
                pass
            stop.check()
        elif not self._open.wait(LIMIT):
            raise TimeoutError("nobody opened the gate")
        self._then(request, stop)

    def wait_entered(self) -> None:
        """Until a call stands in the gate."""
        if not self._entered.wait(LIMIT):
            raise TimeoutError("nobody came to the gate")

    def wait_stopped(self) -> None:
        """Until the call in the gate was told to stop."""
        self.wait_entered()
        if self.stop is None or not self.stop.wait(LIMIT):
            raise TimeoutError("nobody told the call to stop")

    def open(self) -> None:
        """Let it go on."""
        self._open.set()


class FakeExecutor:
    """`on_execute` and `on_probe` hold steps for the calls to come, the first for the next; without one: `nothing`.

    A step runs before the publication, `after` (one more step, for every execution) behind it.
    """

    def __init__(self) -> None:
        self.on_execute: deque[Step] = deque()
        self.on_probe: deque[Step] = deque()
        self.after: Step = nothing
        self.executed: list[ExecuteTask] = []
        self.probed: list[ExecuteTask] = []
        self.published: dict[str, Outcome] = {}
        self.most_at_once: Counter[str] = Counter()
        self.closed = False
        self._fences: dict[str, int] = {}
        self._inside: Counter[str] = Counter()
        self._lock = threading.Lock()

    def execute(self, request: ExecuteTask, *, stop: StopSignal, progress: ProgressSink) -> Outcome:
        with self._at_work(request):
            with self._lock:
                self.executed.append(request)
                step = self.on_execute.popleft() if self.on_execute else nothing
            step(request, stop)
            outcome = self.publish(request, stop)
            self.after(request, stop)
            return outcome

    def probe(self, request: ExecuteTask, *, stop: StopSignal) -> Outcome | None:
        with self._at_work(request):
            with self._lock:
                self.probed.append(request)
                step = self.on_probe.popleft() if self.on_probe else nothing
            step(request, stop)
            with self._lock:
                return self.published.get(request.task_id)

    def close(self) -> None:
        self.closed = True

    def publish(self, request: ExecuteTask, stop: StopSignal | None = None) -> Outcome:
        """What makes it irrevocable, in one step; also for a test that lets a worker die behind it."""
        with self._lock:
            if self._fences.get(request.wsid, 0) > request.fence:
                raise ExecutorFault(FaultReason.FENCED, "a later run has raised the fence")
            if stop is not None:
                stop.check()
            return self.published.setdefault(request.task_id, outcome_of(request))

    @contextmanager
    def _at_work(self, request: ExecuteTask) -> Iterator[None]:
        with self._lock:
            self._fences[request.wsid] = max(self._fences.get(request.wsid, 0), request.fence)
            self._inside[request.wsid] += 1
            self.most_at_once[request.wsid] = max(self.most_at_once[request.wsid], self._inside[request.wsid])
        try:
            yield
        finally:
            with self._lock:
                self._inside[request.wsid] -= 1


def outcome_of(request: ExecuteTask) -> Outcome:
    """What a real executor would leave on disk for the request."""
    match request.op:
        case OperationName.INIT_WORKSPACE:
            return Outcome(live_id=INITIAL_LIVE_ID)
        case OperationName.SET_CURRENT:
            return Outcome(live_id=live_id_for(request.task_id))
        case OperationName.SNAPSHOT_CREATE:
            return Outcome(entries=3, bytes=1024, manifest_digest="sha256:" + "0" * 64, clone_driver="copy")
        case OperationName.SNAPSHOT_DROP:
            return Outcome()

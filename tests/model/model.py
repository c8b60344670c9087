"""What the rows must be after each run of a task, by SPEC §6: pure, one thing at a time, no clock.

Time passes when it is told to: what is not due at once is not due until then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from executor.contract import PERMANENT, FaultReason
from tests.model import rules
from tests.model.happenings import DONE, Happening, Kind
from tests.model.state import MAX_ATTEMPTS, ModelTask, ModelWorkspace

TASKS_PER_BELL = 8
_STOPS_SERVING = (Kind.LOST, Kind.LOST_AFTER, Kind.SHUTDOWN)


class Model:
    """All workspaces, and every call of the executor that was to be made, in order."""

    def __init__(self) -> None:
        self.workspaces: dict[str, ModelWorkspace] = {}
        self.calls: list[tuple[str, str]] = []
        """("execute" or "probe", task id)"""

    def tasks(self) -> list[tuple[ModelWorkspace, ModelTask]]:
        """All there are, each with its workspace."""
        return [(workspace, task) for workspace in self.workspaces.values() for task in workspace.tasks]

    def serve(self, wsid: str, executes: Iterable[Happening], probes: Iterable[Happening]) -> None:
        """A worker answers a bell; the calls it makes go as said, and well when nothing is said of them."""
        _Bell(self, self.workspaces[wsid], deque(executes), deque(probes)).serve()

    def rescue(self) -> None:
        """The scheduler looks: no worker of a RUNNING task is alive."""
        for workspace in self.workspaces.values():
            if workspace.head is not None and workspace.head.status == "RUNNING":
                rescue(workspace.head)

    def time_passes(self, wsid: str) -> None:
        """Everything that waits is due."""
        for task in self.workspaces[wsid].live:
            task.due = True


def rescue(task: ModelTask) -> None:
    """Its worker is gone, and nobody knows what it has done."""
    task.status, task.unknown, task.reason = "FAILED", True, FaultReason.WORKER_LOST
    task.due = task.cancel_requested or task.attempt >= MAX_ATTEMPTS


class _Bell:
    """One bell, answered."""

    def __init__(
        self, model: Model, workspace: ModelWorkspace, executes: deque[Happening], probes: deque[Happening]
    ) -> None:
        self._calls = model.calls
        self._workspace = workspace
        self._executes = executes
        self._probes = probes

    def serve(self) -> None:
        for _ in range(TASKS_PER_BELL):
            head = self._workspace.head
            if head is None:
                return
            if head.status == "RUNNING":
                rescue(head)
            elif not head.due or self._run(head) in _STOPS_SERVING:
                return

    def _run(self, task: ModelTask) -> Kind:
        """Claim, probe, execute, apply; the kind of the last call."""
        task.status = "RUNNING"
        task.claims += 1
        if task.unknown:
            happening = self._ask("probe", task)
            if happening.kind is not Kind.DONE or task.published:
                self._end(task, happening)
                return happening.kind
            if not self._goes_on_after_probe(task):
                return Kind.DONE
            task.unknown = False
        task.attempt += 1
        if not self._prepare(task):
            return Kind.DONE
        happening = self._ask("execute", task)
        self._end(task, happening)
        return happening.kind

    def _ask(self, call: str, task: ModelTask) -> Happening:
        self._calls.append((call, task.task_id))
        waiting = self._executes if call == "execute" else self._probes
        return waiting.popleft() if waiting else DONE

    def _goes_on_after_probe(self, task: ModelTask) -> bool:
        """Nothing was published, and nothing can be any more."""
        if task.cancel_requested and not task.irrevocable:
            self._finish(task, "CANCELED")
        elif task.attempt < MAX_ATTEMPTS:
            return True
        elif task.irrevocable:
            self._succeed(task)
        else:
            self._finish(task, "DEAD", FaultReason.WORKER_LOST)
        return False

    def _prepare(self, task: ModelTask) -> bool:
        """Whether there is something to execute. What a task needs is there: that was settled when it was accepted."""
        workspace = self._workspace
        if task.op == "snapshot_drop":
            assert task.snapshot_id is not None
            assert workspace.snapshots[task.snapshot_id] in (None, task.task_id)
            assert workspace.current != task.snapshot_id
            workspace.snapshots[task.snapshot_id] = task.task_id
        if task.op == "set_current":
            assert task.snapshot_id is not None
            assert workspace.keeps(task.snapshot_id)
            if workspace.current == task.snapshot_id and not task.fresh:
                self._finish(task, "SUCCEEDED")
                return False
        return True

    def _end(self, task: ModelTask, happening: Happening) -> None:
        """What the call has left, and what is written of it."""
        match happening.kind:
            case Kind.DONE | Kind.CANCEL_AFTER:
                task.cancel_requested |= happening.kind is Kind.CANCEL_AFTER
                self._succeed(task)
            case Kind.FAULT:
                self._fail(task, happening.reason, unknown=happening.unknown)
            case Kind.AWAY:
                self._fail(task, FaultReason.UNAVAILABLE, begun=False)
            case Kind.CRASH:
                self._fail(task, FaultReason.INTERNAL, unknown=True)
            case Kind.UNHEARD:
                task.published = True
                self._fail(task, FaultReason.UNAVAILABLE, unknown=True)
            case Kind.LOST:
                pass
            case Kind.LOST_AFTER:
                task.published = True
            case Kind.TIMED_OUT:
                self._fail(task, FaultReason.TIMED_OUT)
            case Kind.SHUTDOWN:
                self._hand_back(task)
            case Kind.CANCEL:
                task.cancel_requested = True
                if task.irrevocable:
                    self._succeed(task)
                else:
                    self._finish(task, "CANCELED")
            case Kind.CANCEL_AND_FAULT:
                task.cancel_requested = True
                self._fail(task, happening.reason, unknown=happening.unknown)

    def _fail(self, task: ModelTask, reason: FaultReason, *, unknown: bool = False, begun: bool = True) -> None:
        still_unknown = task.unknown and reason is not FaultReason.UNSAFE_PATH
        if task.irrevocable:
            self._succeed(task)
        elif unknown or still_unknown:
            task.status, task.unknown, task.due, task.reason = "FAILED", True, False, reason
        elif task.cancel_requested:
            self._finish(task, "CANCELED")
        elif reason in PERMANENT or (begun and task.attempt >= MAX_ATTEMPTS):
            self._finish(task, "DEAD", reason)
        else:
            task.status, task.due, task.reason = "FAILED", False, reason
            task.attempt -= not begun

    def _hand_back(self, task: ModelTask) -> None:
        if task.unknown:
            task.status, task.due = "FAILED", True
        elif task.cancel_requested and not task.irrevocable:
            self._finish(task, "CANCELED")
        else:
            task.status, task.due = "FAILED", True
            task.attempt -= 1

    def _succeed(self, task: ModelTask) -> None:
        """All that belongs to it, or nothing."""
        workspace = self._workspace
        match task.op:
            case "init_workspace":
                workspace.state, workspace.live_id = "ACTIVE", "initial"
            case "snapshot_create":
                assert task.snapshot_id is not None
                workspace.snapshots[task.snapshot_id] = None
            case "set_current":
                workspace.current = task.snapshot_id
                workspace.live_id = "live-" + task.task_id.removeprefix("task-")
        task.published = True
        self._finish(task, "SUCCEEDED")

    def _finish(self, task: ModelTask, status: str, reason: FaultReason | None = None) -> None:
        task.status, task.unknown = status, False
        if status == "SUCCEEDED":
            task.reason = None
        if reason is not None:
            task.reason = reason
        if status != "SUCCEEDED":
            rules.give_up(self._workspace, task)

"""Random requests, faults and crashes, done to the model and to the real thing; after each, the rows are compared."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from executor.contract import FaultReason
from snapshots.invariants import check, rows
from tasks.services import Accepted, cancel_task
from tests.factories import ACTOR, new_wsid
from tests.model import rules
from tests.model.comparison import Fences, expected_task, expected_workspace, task_rows, workspace_row
from tests.model.happenings import OF_A_PROBE, Happening, Kind
from tests.model.model import Model
from tests.model.reality import Reality
from tests.model.rules import Answer, Request
from tests.model.state import ModelTask, ModelWorkspace
from workspaces.services import disable_workspace, enable_workspace
from wvs_project.errors import ErrorCode, WvsError
from wvs_project.ids import new_snapshot_id

T = TypeVar("T")

SEEN: Counter[str] = Counter()
"""What the examples have come to, over all of them: a run that sees little proves little."""

_CHECKED = (
    rows.i1_one_running,
    rows.i3_in_order,
    rows.i4_attempts_and_fences,
    rows.i6_references,
    rows.i8_rows_of_success_only,
    rows.i8_pointer_of_the_last_switch,
    rows.i11_one_row_for_a_key,
)


def _happenings(kinds: tuple[Kind, ...]) -> st.SearchStrategy[list[Happening]]:
    one = st.builds(Happening, st.sampled_from(kinds), st.sampled_from(FaultReason), st.booleans())
    return st.lists(one, max_size=3)


EXECUTES = _happenings(tuple(Kind))
PROBES = _happenings(OF_A_PROBE)
OPS = st.sampled_from(["snapshot_create", "snapshot_drop", "set_current"])
PICK = st.integers(0, 99)
"""Which of those that there are."""


class Machine(RuleBasedStateMachine):
    """Two workspaces at most: what they could do to each other shows with two."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.reality = Reality()
        self._fences = Fences()

    def teardown(self) -> None:
        try:
            assert check(None, settled=False, history=True) == []
        finally:
            self.reality.forget(self.model.workspaces)
            self.reality.close()

    # — requests —

    @initialize(snapshots=st.sampled_from([None, None, 0, 1, 2, 2, 2]))
    def begin(self, snapshots: int | None) -> None:
        """A workspace that waits for its init, or one that is there, with so many snapshots."""
        self.create_workspace()
        for _ in range(snapshots or 0):
            self.serve_well(0)
            self.ask(0, "snapshot_create", 0, fresh=False)
        if snapshots is not None:
            self.serve_well(0)

    @precondition(lambda self: len(self.model.workspaces) == 1)
    @rule()
    def create_workspace(self) -> None:
        workspace = ModelWorkspace(new_wsid())
        self.model.workspaces[workspace.wsid] = workspace
        self._submit(workspace, Request("init_workspace", _new_key()), lambda *_: None)

    @rule(which=PICK, key=PICK)
    def create_workspace_again(self, which: int, key: int) -> None:
        workspace = self._workspace(which)
        self._submit(workspace, Request("init_workspace", self._used_key(workspace, key)), rules.create_again)

    @rule(which=PICK, key=PICK, used=st.booleans())
    def retry_init(self, which: int, key: int, *, used: bool) -> None:
        workspace = self._workspace(which)
        request = Request("init_workspace", self._used_key(workspace, key) if used else _new_key())
        self._submit(workspace, request, rules.retry_init, again=True)

    @rule(which=PICK, op=OPS, snapshot=PICK, fresh=st.booleans())
    def ask(self, which: int, op: str, snapshot: int, *, fresh: bool) -> None:
        workspace = self._workspace(which)
        request = Request(op, _new_key())
        if op != "snapshot_create":
            named = self._snapshot(workspace, snapshot)
            request = Request(op, _new_key(), named, fresh and op == "set_current")
        self._submit(workspace, request, rules.answer)

    @rule(which=PICK, op=OPS, snapshot=PICK, executes=EXECUTES, probes=PROBES)
    def ask_in_bad_times(
        self, which: int, op: str, snapshot: int, executes: list[Happening], probes: list[Happening]
    ) -> None:
        """Nothing waits before it, so that it is this one that meets what happens; until all of that has happened."""
        self.serve_well(which)
        self.ask(which, op, snapshot, fresh=True)
        for _ in range(len(executes) + len(probes)):
            self.serve_bell(self._workspace(which), executes, probes)
            executes, probes = executes[1:], probes[1:]
            self.scheduler_looks()
            self.time_passes(which)

    @precondition(lambda self: any(task.op != "init_workspace" for _, task in self.model.tasks()))
    @rule(task=PICK, same=st.booleans(), snapshot=PICK)
    def send_again(self, task: int, snapshot: int, *, same: bool) -> None:
        workspace, earlier = _pick([one for one in self.model.tasks() if one[1].op != "init_workspace"], task)
        request = self._request_of(earlier)
        if not same:
            request = Request(earlier.op, earlier.key, self._snapshot(workspace, snapshot), message="another")
        self._submit(workspace, request, rules.answer)

    @rule(task=PICK)
    def cancel(self, task: int) -> None:
        """Mostly of one that is not finished."""
        live = [one for one in self.model.tasks() if one[1].is_live]
        workspace, found = _pick(live if live and task % 4 else self.model.tasks(), task // 4)
        refused = _refusal(lambda: cancel_task(task_id=found.task_id, actor=ACTOR, request_id="req-1"))
        assert refused == rules.cancel(workspace, found)
        self._saw("cancel", refused)

    @rule(which=PICK, for_good=st.sampled_from([False, False, False, True]))
    def disable(self, which: int, *, for_good: bool) -> None:
        workspace = self._workspace(which)
        refused = _refusal(lambda: disable_workspace(wsid=workspace.wsid, actor=ACTOR, request_id="req-1"))
        assert refused == rules.disable(workspace)
        self._saw("disable", refused)
        if not for_good:
            self.ask(which, "snapshot_create", 0, fresh=False)
            self.enable(which)

    @rule(which=PICK)
    def enable(self, which: int) -> None:
        workspace = self._workspace(which)
        refused = _refusal(lambda: enable_workspace(wsid=workspace.wsid, actor=ACTOR))
        assert refused == rules.enable(workspace)
        self._saw("enable", refused)

    # — workers, the scheduler, time —

    @rule(which=PICK, executes=EXECUTES, probes=PROBES)
    def serve(self, which: int, executes: list[Happening], probes: list[Happening]) -> None:
        self.serve_bell(self._workspace(which), executes, probes)

    @rule(which=PICK, before=EXECUTES)
    def serve_again_and_again(self, which: int, before: list[Happening]) -> None:
        """Time passes between one fault and the next."""
        for happening in before:
            self.scheduler_looks()
            self.time_passes(which)
            self.serve_bell(self._workspace(which), [happening], [])

    @rule(which=PICK)
    def serve_well(self, which: int) -> None:
        workspace = self._workspace(which)
        self.model.time_passes(workspace.wsid)
        self.reality.time_passes(workspace.wsid)
        self.serve_bell(workspace, [], [])

    @rule(which=PICK, happening=st.sampled_from([Happening(Kind.FAULT), Happening(Kind.LOST), Happening(Kind.UNHEARD)]))
    def wear_out(self, which: int, happening: Happening) -> None:
        """The same goes wrong until the attempts are used up."""
        workspace = self._workspace(which)
        for _ in range(5):
            self.scheduler_looks()
            self.time_passes(which)
            self.serve_bell(workspace, [happening], [])

    @rule()
    def scheduler_looks(self) -> None:
        self.model.rescue()
        self.reality.rescue()

    @rule(which=PICK)
    def time_passes(self, which: int) -> None:
        workspace = self._workspace(which)
        self.model.time_passes(workspace.wsid)
        self.reality.time_passes(workspace.wsid)

    # — what must be so —

    @invariant()
    def the_rows_are_as_the_model_says(self) -> None:
        for workspace in self.model.workspaces.values():
            assert workspace_row(workspace.wsid) == expected_workspace(workspace)
            found = task_rows(workspace.wsid)
            assert [row[:-1] for row in found] == [expected_task(task) for task in workspace.tasks]
            for task, row in zip(workspace.tasks, found, strict=True):
                self._fences.compare(task, row[-1])
                SEEN[f"{task.op} {task.status}{' ?' * task.unknown}"] += 1

    @invariant()
    def the_executor_was_asked_what_the_model_says(self) -> None:
        fake = self.reality.fake
        assert [one.task_id for one in fake.executed] == [task for call, task in self.model.calls if call == "execute"]
        assert [one.task_id for one in fake.probed] == [task for call, task in self.model.calls if call == "probe"]
        assert all(count == 1 for count in fake.most_at_once.values())

    @invariant()
    def no_invariant_of_the_tables_is_broken(self) -> None:
        assert [violation for one in _CHECKED for violation in one()] == []

    # — how —

    def serve_bell(self, workspace: ModelWorkspace, executes: list[Happening], probes: list[Happening]) -> None:
        self._fences.begin()
        self.model.serve(workspace.wsid, executes, probes)
        self.reality.serve(workspace.wsid, executes, probes)
        self.the_rows_are_as_the_model_says()

    def _submit(
        self,
        workspace: ModelWorkspace,
        request: Request,
        decide: Callable[[ModelWorkspace, Request], Answer],
        *,
        again: bool = False,
    ) -> None:
        expected = decide(workspace, request)
        answered = self.reality.submit(workspace.wsid, request, again=again)
        if isinstance(expected, ErrorCode):
            assert answered == expected
        elif isinstance(expected, ModelTask):
            assert isinstance(answered, Accepted), answered
            assert (answered.replayed, answered.task.task_id) == (True, expected.task_id)
        else:
            assert isinstance(answered, Accepted), answered
            assert not answered.replayed
            workspace.tasks.append(_accepted(request, answered))
        self._saw(request.op, "replayed" if isinstance(expected, ModelTask) else expected)

    def _saw(self, what: str, answer: object) -> None:
        SEEN[f"{what}: {answer.code if isinstance(answer, ErrorCode) else answer or 'accepted'}"] += 1

    def _workspace(self, which: int) -> ModelWorkspace:
        return _pick(list(self.model.workspaces.values()), which)

    def _snapshot(self, workspace: ModelWorkspace, which: int) -> str:
        """Mostly one of its own that is kept; else one that was dropped, another's, or one that nobody has heard of."""
        kept = [one for one in workspace.snapshots if workspace.keeps(one)]
        if kept and which % 6:
            return _pick(kept, which)
        known = [one for some in self.model.workspaces.values() for one in some.snapshots]
        return _pick([new_snapshot_id(), *known], which // 6)

    def _used_key(self, workspace: ModelWorkspace, which: int) -> str:
        return _pick([task.key for task in workspace.tasks], which)

    @staticmethod
    def _request_of(task: ModelTask) -> Request:
        named = None if task.op == "snapshot_create" else task.snapshot_id
        return Request(task.op, task.key, named, task.fresh)


def _accepted(request: Request, accepted: Accepted) -> ModelTask:
    snapshot_id = accepted.task.params.get("snapshot_id")
    if request.snapshot_id is not None:
        assert snapshot_id == request.snapshot_id
    return ModelTask(accepted.task.task_id, request.op, request.key, request.said, snapshot_id, request.fresh)


def _new_key() -> str:
    return uuid.uuid4().hex


def _pick(those: list[T], which: int) -> T:
    return those[which % len(those)]


def _refusal(call: Callable[[], object]) -> ErrorCode | None:
    try:
        call()
    except WvsError as refusal:
        return refusal.code
    return None

"""The executor's side: what opens the gate, what does not, and what is left afterwards. The agent is played by hand."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from executor.contract import ExecutorFault, FaultReason, Stopped, StopReason, StopSignal
from executor.freeze import Freeze, freeze
from executor.layout import WorkspaceLayout
from tests.agent.scene import (
    SECOND_LIVE,
    HandAgent,
    Limits,
    a_task,
    control_of,
    leave_control,
    switch,
    wait_for,
)
from wvs_agent import protocol
from wvs_agent.protocol import AgentLock, AgentState, ControlState

SHORT = Limits(quiesce_timeout=0.3)
OLD_NONCE = "f" * 32


def refused(ws: WorkspaceLayout, stop: StopSignal, limits: Limits = SHORT) -> FaultReason:
    """The reason why the gate stays closed."""
    with pytest.raises(ExecutorFault) as caught, freeze(ws, a_task(), limits, stop):
        pytest.fail("the gate opened")
    return caught.value.reason


def renewers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "wvs-freeze-renewer"]


def test_with_nobody_attached_the_freeze_needs_no_ack_and_writes_nothing(ws: WorkspaceLayout, stop: StopSignal) -> None:
    with freeze(ws, a_task(), Limits(), stop) as quiet:
        quiet.check(margin=1.0)
        assert not quiet.attached
    assert not quiet.report.attached
    assert quiet.report.resumed is None
    assert not ws.control.exists()


@pytest.mark.rule("H4")
def test_with_nobody_attached_nobody_can_attach_until_the_end(ws: WorkspaceLayout, stop: StopSignal) -> None:
    newcomer = AgentLock(ws.agent_lock)
    with freeze(ws, a_task(), Limits(), stop):
        assert not newcomer.try_acquire()
    assert newcomer.try_acquire()
    newcomer.close()


def test_an_ack_with_the_nonce_opens_the_gate_and_the_report_is_complete(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal
) -> None:
    obeying = agent.obey()
    with freeze(ws, a_task(fence=7), Limits(), stop) as quiet:
        asked = control_of(ws)
        quiet.check(margin=1.0)
    obeying.join()
    assert asked.state is ControlState.REQUEST_FREEZE
    assert (asked.task_id, asked.fence, asked.current) == (a_task().task_id, 7, "live/initial")
    report = quiet.report
    assert (report.attached, report.agent_id, report.resumed) == (True, "hand", True)
    assert report.current_seen == "live/initial"
    assert report.wait_seconds > 0
    assert report.freeze_seconds > 0


def leftovers(kind: str, agent: HandAgent, ws: WorkspaceLayout) -> None:
    """What earlier freezes and crashes can have left in the two files."""
    control, _, answer = kind.partition(" / ")
    if control != "none":
        leave_control(ws, ControlState(control), OLD_NONCE)
    if answer == "half":
        ws.agent_file.write_bytes(b'{"version": 1, "agent_id": "hand", "state": "FROZ')
    elif answer == "frozen without nonce":
        ws.agent_file.write_text('{"version": 1, "state": "FROZEN"}')
    elif answer != "none":
        agent.say(AgentState(answer), OLD_NONCE, renewal=2**40)


@pytest.mark.rule("G1")
@pytest.mark.rule("G2")
@pytest.mark.rule("G3")
@pytest.mark.rule("G4")
@pytest.mark.parametrize("control", ["none", "RUNNING", "REQUEST_FREEZE", "REQUEST_RESUME"])
@pytest.mark.parametrize("answer", ["none", "FROZEN", "RUNNING", "half", "frozen without nonce"])
def test_no_leftover_of_a_crash_opens_the_gate(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal, control: str, answer: str
) -> None:
    leftovers(f"{control} / {answer}", agent, ws)
    for _ in ("first attempt", "retry"):
        assert refused(ws, stop, Limits(quiesce_timeout=0.05)) is FaultReason.QUIESCE_TIMEOUT
        left = control_of(ws)
        assert left.state is ControlState.REQUEST_RESUME
        assert left.nonce != OLD_NONCE


@pytest.mark.rule("G3")
def test_an_ack_of_the_attempt_before_does_not_open_the_gate(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal
) -> None:
    obeying = agent.obey()
    with freeze(ws, a_task(), Limits(), stop):
        nonce = control_of(ws).nonce
    obeying.join()
    agent.say(AgentState.FROZEN, nonce)
    assert refused(ws, stop) is FaultReason.QUIESCE_TIMEOUT


def test_a_late_ack_still_finds_the_request_taken_back(ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal) -> None:
    assert refused(ws, stop) is FaultReason.QUIESCE_TIMEOUT
    agent.say(AgentState.FROZEN, control_of(ws).nonce)
    assert control_of(ws).state is ControlState.REQUEST_RESUME
    assert refused(ws, stop) is FaultReason.QUIESCE_TIMEOUT


def test_a_freeze_that_nobody_answers_is_told_and_has_no_length(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal
) -> None:
    with structlog.testing.capture_logs() as logs:
        assert refused(ws, stop, Limits(quiesce_timeout=0.05)) is FaultReason.QUIESCE_TIMEOUT
    asked, ended = (line for line in logs if line["event"].startswith("freeze."))
    assert (asked["event"], asked["limit_seconds"]) == ("freeze.asked", 0.05)
    assert (ended["event"], ended["attached"], ended["freeze_seconds"]) == ("freeze.ended", True, 0.0)


def test_an_agent_that_refuses_ends_the_wait_at_once(ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal) -> None:
    answer = threading.Thread(target=lambda: agent.say(AgentState.RUNNING, agent.asked().nonce))
    answer.start()
    assert refused(ws, stop, Limits(quiesce_timeout=300)) is FaultReason.QUIESCE_TIMEOUT
    answer.join()


def test_a_hung_agent_leaves_nothing_held_attempt_after_attempt(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal
) -> None:
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert refused(ws, stop) is FaultReason.QUIESCE_TIMEOUT
        assert control_of(ws).state is ControlState.REQUEST_RESUME
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
    assert not renewers()
    assert sorted(entry.name for entry in ws.wvs.iterdir()) == ["agent", "agent.lock", "control.json", "staging"]
    agent.close()
    with freeze(ws, a_task(), SHORT, stop) as quiet:
        assert not quiet.attached


def test_a_stop_ends_the_wait_at_once_and_takes_the_request_back(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal
) -> None:
    def cancel() -> None:
        agent.asked()
        stop.stop(StopReason.CANCELED)

    canceling = threading.Thread(target=cancel)
    canceling.start()
    with pytest.raises(Stopped), freeze(ws, a_task(), Limits(quiesce_timeout=300), stop):
        pytest.fail("the gate opened")
    canceling.join()
    assert control_of(ws).state is ControlState.REQUEST_RESUME


@pytest.mark.rule("H4")
def test_an_agent_that_dies_before_its_ack_is_no_agent_any_more(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal
) -> None:
    def die() -> None:
        agent.asked()
        agent.close()

    dying = threading.Thread(target=die)
    dying.start()
    newcomer = AgentLock(ws.agent_lock)
    with freeze(ws, a_task(), Limits(quiesce_timeout=300), stop) as quiet:
        quiet.check()
        assert not quiet.attached
        assert not newcomer.try_acquire()
    dying.join()
    newcomer.close()
    assert control_of(ws).state is ControlState.REQUEST_RESUME


def test_the_request_of_a_dead_executor_is_taken_back_even_when_nobody_is_attached(
    ws: WorkspaceLayout, stop: StopSignal
) -> None:
    leave_control(ws, ControlState.REQUEST_FREEZE, OLD_NONCE)
    with freeze(ws, a_task(), Limits(), stop):
        pass
    assert control_of(ws).state is ControlState.REQUEST_RESUME


def test_a_body_that_raises_thaws_the_agent_and_keeps_its_error(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal
) -> None:
    obeying = agent.obey()
    with pytest.raises(ZeroDivisionError), freeze(ws, a_task(), Limits(), stop):
        raise ZeroDivisionError
    obeying.join()
    assert control_of(ws).state is ControlState.REQUEST_RESUME


def test_resume_names_the_tree_that_current_points_at_now(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal
) -> None:
    obeying = agent.obey()
    with freeze(ws, a_task(), Limits(), stop) as quiet:
        switch(ws)
    obeying.join()
    assert control_of(ws).current == SECOND_LIVE
    assert quiet.report.resumed is True


@pytest.mark.rule("H6")
def test_an_agent_that_still_sees_the_old_tree_is_reported_and_fails_nothing(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal
) -> None:
    def answer() -> None:
        asked = agent.asked()
        agent.say(AgentState.FROZEN, asked.nonce)
        agent.asked(ControlState.REQUEST_RESUME)
        agent.say(AgentState.RUNNING, asked.nonce, current="live/initial", old_handles=("cwd live/initial",))

    answering = threading.Thread(target=answer)
    answering.start()
    with freeze(ws, a_task(), Limits(), stop) as quiet:
        switch(ws)
    answering.join()
    report = quiet.report
    assert (report.resumed, report.current_seen, report.old_handles) == (False, "live/initial", ("cwd live/initial",))


WORDS: dict[str, Callable[[HandAgent, str], None]] = {
    "goes on by itself": lambda agent, nonce: agent.say(AgentState.RUNNING, nonce),
    "is replaced by another": lambda agent, nonce: agent.say(AgentState.FROZEN, nonce, agent_id="another"),
    "answers another freeze": lambda agent, nonce: agent.say(AgentState.FROZEN, OLD_NONCE),
    "claims a renewal that we never wrote": lambda agent, nonce: agent.say(AgentState.FROZEN, nonce, renewal=1000),
    "takes its word away": lambda agent, nonce: agent.ws.agent_file.unlink(),
    "says half of it": lambda agent, nonce: void(agent.ws.agent_file.write_bytes(b'{"version": 1')),
}


def void(_: object) -> None: ...


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS.keys())
def test_a_frozen_agent_that_takes_its_word_back_expires_the_freeze(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal, word: Callable[[HandAgent, str], None]
) -> None:
    obeying = agent.obey()
    with freeze(ws, a_task(), Limits(), stop) as quiet:
        quiet.check()
        word(agent, control_of(ws).nonce)
        with pytest.raises(ExecutorFault) as caught:
            quiet.check()
        assert caught.value.reason is FaultReason.QUIESCE_EXPIRED
    obeying.join()


def expired(quiet: Freeze, *, margin: float = 0.0) -> bool:
    try:
        quiet.check(margin=margin)
    except ExecutorFault as fault:
        return fault.reason is FaultReason.QUIESCE_EXPIRED
    return False


def test_only_a_renewal_that_the_agent_says_it_saw_extends_the_lease(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal
) -> None:
    obeying = agent.obey()  # which never echoes a renewal
    with freeze(ws, a_task(), Limits(freeze_lease=1.5), stop) as quiet:
        quiet.check()
        wait_for(lambda: control_of(ws).renewal >= 3, "three renewals")
        assert expired(quiet)
        agent.say(AgentState.FROZEN, control_of(ws).nonce, control_of(ws).renewal)
        quiet.check()
    obeying.join()


def test_a_margin_that_the_lease_does_not_have_is_refused(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal
) -> None:
    obeying = agent.obey()
    with freeze(ws, a_task(), Limits(freeze_lease=30), stop) as quiet:
        quiet.check(margin=20)
        assert expired(quiet, margin=30)
    obeying.join()


def test_no_lease_outlives_the_longest_freeze(ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal) -> None:
    obeying = agent.obey()
    with freeze(ws, a_task(), Limits(freeze_lease=0.3, freeze_max=1.0), stop) as quiet:

        def follow() -> bool:
            now = control_of(ws)
            agent.say(AgentState.FROZEN, now.nonce, now.renewal)
            return expired(quiet)

        wait_for(follow, "the freeze ends though the agent follows every renewal")
        assert control_of(ws).renewal >= 1
        wait_for(lambda: not renewers(), "the renewer ends")
    obeying.join()


def plant(kind: str, path: Path) -> None:
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink":
        path.symlink_to("/etc/passwd")
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(b" " * (protocol.MAX_FILE_BYTES + 1))


@pytest.mark.rule("H12")
@pytest.mark.rule("G16")
@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["fifo", "symlink", "directory", "huge"])
def test_a_planted_answer_is_refused_at_once_and_the_request_taken_back(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal, kind: str
) -> None:
    plant(kind, ws.agent_file)
    assert refused(ws, stop, Limits(quiesce_timeout=300)) is FaultReason.UNSAFE_PATH
    assert control_of(ws).state is ControlState.REQUEST_RESUME


@pytest.mark.rule("H12")
@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["fifo", "symlink", "directory", "huge"])
def test_an_answer_planted_during_the_freeze_is_refused_too(
    ws: WorkspaceLayout, agent: HandAgent, stop: StopSignal, kind: str
) -> None:
    def answer() -> None:
        agent.say(AgentState.FROZEN, agent.asked().nonce)

    answering = threading.Thread(target=answer)
    answering.start()
    with freeze(ws, a_task(), Limits(), stop) as quiet:
        plant(kind, ws.agent_file)
        with pytest.raises(ExecutorFault) as caught:
            quiet.check()
        assert caught.value.reason is FaultReason.UNSAFE_PATH
    answering.join()
    assert quiet.report.resumed is False


@pytest.mark.rule("H12")
@pytest.mark.rule("G16")
@pytest.mark.parametrize("target", ["/etc", "../other/live/initial", "live/../../other", "live/", "live/initial/x"])
def test_a_foreign_current_is_refused(ws: WorkspaceLayout, stop: StopSignal, target: str) -> None:
    ws.current.unlink()
    ws.current.symlink_to(target)
    assert refused(ws, stop) is FaultReason.UNSAFE_PATH


@pytest.mark.rule("H12")
@pytest.mark.parametrize("kind", ["fifo", "directory", "missing"])
def test_a_current_that_is_no_link_is_refused(ws: WorkspaceLayout, stop: StopSignal, kind: str) -> None:
    ws.current.unlink()
    if kind != "missing":
        plant(kind, ws.current)
    assert refused(ws, stop) is FaultReason.UNSAFE_PATH


def test_a_workspace_without_its_lock_is_refused_since_nobody_knows_who_is_attached(
    ws: WorkspaceLayout, stop: StopSignal
) -> None:
    ws.agent_lock.unlink()
    assert refused(ws, stop) is FaultReason.UNSAFE_PATH
    assert not ws.agent_lock.exists()

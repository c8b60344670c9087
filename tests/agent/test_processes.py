"""Both sides as processes of their own: killed without warning, hung, and with clocks that differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.contract import ExecutorFault, FaultReason, StopSignal
from executor.freeze import freeze
from executor.layout import WorkspaceLayout
from tests.agent.scene import Limits, a_task, agent_lock_is_free, control_of, spoken, wait_for
from wvs_agent import protocol
from wvs_agent.protocol import AgentState, AgentStatus, ControlState

AGENT = "tests.agent.agent_process"
EXECUTOR = "tests.agent.executor_process"


def status_of(ws: WorkspaceLayout) -> AgentStatus:
    status = protocol.read_agent(ws.agent_file)
    assert status is not None
    return status


def wait_for_an_echo(ws: WorkspaceLayout, *, after: int) -> None:
    wait_for(lambda: status_of(ws).renewal > after, "a renewal is echoed")


def test_the_log_does_not_grow_while_the_agent_stands_still(ws: WorkspaceLayout, stop: StopSignal) -> None:
    with spoken(AGENT, ws.root) as agent:
        agent.hear("attached")
        for _ in range(3):
            with freeze(ws, a_task(), Limits(), stop) as quiet:
                frozen = int(agent.hear("frozen").split()[1])
                size = (ws.current / "log").stat().st_size
                quiet.check(margin=1.0)
            agent.hear("resumed live/initial")
            assert size == frozen
            assert quiet.report.resumed is True


@pytest.mark.rule("G1")
def test_the_lock_of_an_agent_killed_while_attached_is_free_at_once(ws: WorkspaceLayout, stop: StopSignal) -> None:
    with spoken(AGENT, ws.root) as agent:
        agent.hear("attached")
        assert not agent_lock_is_free(ws.root)
        agent.kill()
        assert agent_lock_is_free(ws.root)
        with freeze(ws, a_task(), Limits(), stop) as quiet:
            assert not quiet.attached


@pytest.mark.rule("G2")
def test_the_frozen_of_an_agent_killed_in_a_freeze_is_worth_nothing_later(
    ws: WorkspaceLayout, stop: StopSignal
) -> None:
    with spoken(AGENT, ws.root) as agent:
        agent.hear("attached")
        with freeze(ws, a_task(), Limits(), stop) as quiet:
            agent.hear("frozen")
            agent.kill()
            assert agent_lock_is_free(ws.root)
            quiet.check()
    assert quiet.report.resumed is False
    with spoken(AGENT, ws.root, "--hang") as agent:
        agent.hear("attached")
        with (
            pytest.raises(ExecutorFault) as caught,
            freeze(ws, a_task(2), Limits(quiesce_timeout=0.3), stop),
        ):
            pytest.fail("the gate opened")
    assert caught.value.reason is FaultReason.QUIESCE_TIMEOUT


@pytest.mark.rule("H4")
def test_an_agent_that_attaches_after_another_died_frozen_stands_still_until_the_end(
    ws: WorkspaceLayout, stop: StopSignal
) -> None:
    with spoken(AGENT, ws.root) as first:
        first.hear("attached")
        with spoken(AGENT, ws.root) as second:
            with freeze(ws, a_task(), Limits(), stop) as quiet:
                frozen = int(first.hear("frozen").split()[1])
                before = status_of(ws)
                first.kill()
                wait_for(lambda: status_of(ws) != before, "the second agent answers")
                assert status_of(ws).state is AgentState.FROZEN
                quiet.check()
                assert (ws.current / "log").stat().st_size == frozen
            second.hear("attached")


@pytest.mark.rule("H9")
def test_the_agent_thaws_when_the_executor_is_killed_in_the_freeze(ws: WorkspaceLayout, stop: StopSignal) -> None:
    with spoken(AGENT, ws.root) as agent:
        agent.hear("attached")
        with spoken(EXECUTOR, ws.root, 1.0) as executor:
            executor.hear("frozen attached=True")
            executor.kill()
        agent.hear("resumed live/initial")
        assert control_of(ws).state is ControlState.REQUEST_FREEZE
        with freeze(ws, a_task(2), Limits(), stop) as quiet:
            agent.hear("frozen")
            quiet.check()
        agent.hear("resumed")


@pytest.mark.rule("H4")
def test_the_agent_can_attach_when_an_executor_that_held_its_lock_is_killed(ws: WorkspaceLayout) -> None:
    with spoken(EXECUTOR, ws.root, 1.0) as executor:
        executor.hear("frozen attached=False")
        with spoken(AGENT, ws.root) as agent:
            executor.kill()
            agent.hear("attached")


def test_a_hung_agent_times_out_again_and_again_and_holds_nothing(ws: WorkspaceLayout, stop: StopSignal) -> None:
    with spoken(AGENT, ws.root, "--hang") as agent:
        agent.hear("attached")
        for fence in (1, 2, 3):
            with (
                pytest.raises(ExecutorFault) as caught,
                freeze(ws, a_task(fence), Limits(quiesce_timeout=0.3), stop),
            ):
                pytest.fail("the gate opened")
            assert caught.value.reason is FaultReason.QUIESCE_TIMEOUT
            assert control_of(ws).state is ControlState.REQUEST_RESUME
        agent.kill()
    assert agent_lock_is_free(ws.root)


@pytest.mark.rule("H5")
@pytest.mark.parametrize("hours", [1, -1])
def test_an_agent_whose_wall_clock_is_off_and_jumps_in_the_freeze_changes_nothing(
    ws: WorkspaceLayout, stop: StopSignal, tmp_path: Path, hours: int
) -> None:
    wall = tmp_path / "wall"
    wall.write_text(str(3600 * hours))
    with spoken(AGENT, ws.root, "--wall", wall) as agent:
        agent.hear("attached")
        with freeze(ws, a_task(), Limits(freeze_lease=3.0), stop) as quiet:
            agent.hear("frozen")
            for jump in (-3600 * hours, 0, 3600 * hours):
                wall.write_text(str(jump))
                wait_for_an_echo(ws, after=control_of(ws).renewal)
                quiet.check(margin=0.5)
        agent.hear("resumed")
        assert quiet.report.resumed is True

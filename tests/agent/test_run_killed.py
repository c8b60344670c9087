"""`wvs-agent run` whose processes are killed, or hang: nothing stays frozen, nothing runs unwatched (H9)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from executor.contract import StopSignal
from executor.freeze import freeze
from executor.layout import WorkspaceLayout
from tests.agent.running import FREEZERS, GENTLE, PYTHON, Running, is_keeper, is_still, running
from tests.agent.scene import a_task
from tests.agent.watching import LEASE, PATIENT, ask, echoes, grows, renew, resume, said, says
from tests.waiting import eventually
from wvs_agent import processes, protocol
from wvs_agent.config import FreezerKind
from wvs_agent.processes import Process
from wvs_agent.protocol import AgentState

DEAF = """
import os, signal
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
os.closerange(3, 1024)
print("ready", flush=True)
while True:
    signal.pause()
"""
"""Nothing but SIGKILL ends it, and of the lock that it has inherited it holds nothing."""
LAST_WORDS = "trap 'sleep 0.2; echo bye >last; exit' TERM; echo ready; while :; do sleep 0.05; done"
NAMELESS = 'exec env -i WVS_TEST_RUN="$WVS_TEST_RUN" sh -c "echo ready; exec sleep 1000"'
"""It has lost all that it was given but what these tests know it by."""


@pytest.mark.rule("H9")
@pytest.mark.rule("H4")
@pytest.mark.parametrize("kind", FREEZERS)
@pytest.mark.parametrize("command", [GENTLE, (PYTHON, "-c", DEAF)], ids=["journal", "deaf"])
def test_a_watcher_killed_in_a_freeze_leaves_nothing_frozen_and_nothing_running(
    ws: WorkspaceLayout, kind: FreezerKind, command: tuple[str, ...]
) -> None:
    with running(ws.root, command, "--grace", "0.5", kind=kind) as run:
        assert run.hear() in {"started", "ready"}
        asked = protocol.clock()
        ask(ws, lease=LEASE)
        frozen = run.command()
        run.kill()
        assert frozen
        assert_still_until(asked + LEASE, frozen)
        wait_until_gone(run)
        assert not list(Path("/sys/fs/cgroup").glob(f"**/wvs-agent-{run.child.pid}-*"))


def assert_still_until(end: float, frozen: list[Process]) -> None:
    """None of them runs, or is ended, before `end`, a moment of protocol.clock()."""
    while True:
        all_still = all(is_still(each) and not processes.is_dead(each) for each in frozen)
        # The clock after the look: what was seen was so before then.
        if (now := protocol.clock()) >= end:
            return
        assert all_still, f"thawed {end - now} s too early"


def wait_until_gone(run: Running) -> None:
    """All of it ends, and as long as anything lives, nobody may think that nobody is there."""

    def gone() -> bool:
        free = run.lock_is_free()
        left = run.everything()
        assert not (free and [each for each in left if not is_keeper(each)])
        return not left

    eventually(gone, "all of it has ended")
    # A process whose threads still end looks ended, and its files close last.
    eventually(run.lock_is_free, "the lock is free")


@pytest.mark.rule("H9")
@pytest.mark.parametrize("kind", FREEZERS)
def test_a_command_whose_watcher_was_killed_in_a_freeze_is_thawed_and_asked_to_end_before_it_is_killed(
    ws: WorkspaceLayout, kind: FreezerKind
) -> None:
    with running(ws.root, ["sh", "-c", LAST_WORDS], "--grace", "10", kind=kind) as run:
        assert run.hear() == "ready"
        ask(ws, lease=LEASE)
        run.kill()
        wait_until_gone(run)
        assert (ws.live("initial") / "last").read_text() == "bye\n"


@pytest.mark.rule("H9")
def test_a_watcher_killed_after_a_renewal_leaves_all_still_until_the_renewed_lease_ends(ws: WorkspaceLayout) -> None:
    """An executor counts on the longer lease once it was echoed."""
    with running(ws.root, GENTLE) as run:
        assert run.hear() == "started"
        nonce = ask(ws, lease=LEASE)
        frozen = run.command()
        renewed = protocol.clock()
        renew(ws, 1, lease=LEASE + 1)
        eventually(lambda: echoes(ws, nonce, 1), "the renewal is echoed")
        run.kill()
        assert_still_until(renewed + LEASE + 1, frozen)
        wait_until_gone(run)


@pytest.mark.rule("H9")
@pytest.mark.parametrize("kind", FREEZERS)
def test_a_watcher_killed_while_all_runs_leaves_nothing_running(ws: WorkspaceLayout, kind: FreezerKind) -> None:
    with running(ws.root, GENTLE, kind=kind) as run:
        assert run.hear() == "started"
        run.kill()
        wait_until_gone(run)


@pytest.mark.rule("H9")
@pytest.mark.parametrize("kind", FREEZERS)
def test_a_keeper_that_is_killed_is_replaced_and_the_new_one_does_as_well(
    ws: WorkspaceLayout, stop: StopSignal, kind: FreezerKind
) -> None:
    with running(ws.root, GENTLE, kind=kind) as run:
        assert run.hear() == "started"
        first = run.keeper
        processes.send(first, signal.SIGKILL)
        eventually(lambda: run.keeper.pid != first.pid, "another keeper")
        with freeze(ws, a_task(), PATIENT, stop) as quiet:
            assert len(run.command()) == 4
            assert run.all_still()
        assert quiet.report.resumed
        grows(ws.live("initial"))
        ask(ws, lease=LEASE)
        run.kill()
        wait_until_gone(run)


@pytest.mark.rule("H9")
def test_what_a_first_keeper_has_started_is_ended_by_the_second_though_nothing_marks_it(ws: WorkspaceLayout) -> None:
    with running(ws.root, ["sh", "-c", NAMELESS]) as run:
        assert run.hear() == "ready"
        first = run.keeper
        processes.send(first, signal.SIGKILL)
        eventually(lambda: run.keeper.pid != first.pid, "another keeper")
        assert len(run.command()) == 1
        run.kill()
        wait_until_gone(run)


@pytest.mark.rule("H9")
@pytest.mark.parametrize("kind", FREEZERS)
def test_a_keeper_killed_in_a_freeze_changes_nothing_of_it(ws: WorkspaceLayout, kind: FreezerKind) -> None:
    with running(ws.root, GENTLE, kind=kind) as run:
        assert run.hear() == "started"
        nonce = ask(ws)
        first = run.keeper
        processes.send(first, signal.SIGKILL)
        eventually(lambda: run.keeper.pid != first.pid, "another keeper")
        assert len(run.command()) == 4
        assert run.all_still()
        assert says(ws, AgentState.FROZEN, nonce)
        resume(ws, nonce)
        grows(ws.live("initial"))
        run.child.terminate()
        assert run.wait() == 128 + signal.SIGTERM


@pytest.mark.rule("H9")
@pytest.mark.parametrize("kind", FREEZERS)
def test_a_watcher_that_hangs_in_a_freeze_is_thawed_by_the_keeper_and_does_not_lie_later(
    ws: WorkspaceLayout, kind: FreezerKind
) -> None:
    with running(ws.root, GENTLE, kind=kind) as run:
        assert run.hear() == "started"
        nonce = ask(ws, lease=LEASE)
        run.child.send_signal(signal.SIGSTOP)
        grows(ws.live("initial"))
        # An executor that still renews: the watcher, when it wakes, must not take this for its own lease.
        renew(ws, 1, lease=30.0)
        run.child.send_signal(signal.SIGCONT)

        def taken_back() -> bool:
            answer = said(ws)
            assert answer is not None
            assert (answer.state, answer.renewal) != (AgentState.FROZEN, 1)
            return answer.state is AgentState.RUNNING

        eventually(taken_back, "RUNNING")
        assert says(ws, AgentState.RUNNING, nonce)
        resume(ws, ask(ws))

"""`wvs-agent run` whose processes are killed, or hang: nothing stays frozen, nothing runs unwatched (H9)."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest

from executor.contract import StopSignal
from executor.freeze import freeze
from executor.layout import WorkspaceLayout
from tests.agent.running import FREEZERS, GENTLE, Running, is_keeper, is_still, running
from tests.agent.scene import a_task, control_of
from tests.agent.watching import LEASE, PATIENT, ask, grows, resume, said, says
from tests.waiting import eventually
from wvs_agent import processes, protocol
from wvs_agent.config import FreezerKind
from wvs_agent.protocol import AgentState

DEAF = "trap '' TERM HUP INT; echo ready; while :; do sleep 1000; done"
LAST_WORDS = "trap 'echo bye >last; exit' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.mark.rule("H9")
@pytest.mark.rule("H4")
@pytest.mark.parametrize("kind", FREEZERS)
@pytest.mark.parametrize("command", [GENTLE, ("sh", "-c", DEAF)], ids=["journal", "deaf"])
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
        while True:
            all_still = all(is_still(each) for each in frozen)
            # The clock after the look: what was seen was so before then. Its own lease began later than ours.
            if (now := protocol.clock()) >= asked + LEASE:
                break
            assert all_still, f"thawed {now - asked} s after the request"
        wait_until_gone(run)
        assert not list(Path("/sys/fs/cgroup").glob(f"**/wvs-agent-{run.child.pid}-*"))


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
        renewed = dataclasses.replace(control_of(ws), renewal=1, lease_seconds=30.0)
        protocol.replace_file(ws.control, renewed.encode())
        run.child.send_signal(signal.SIGCONT)

        def taken_back() -> bool:
            answer = said(ws)
            assert answer is not None
            assert (answer.state, answer.renewal) != (AgentState.FROZEN, 1)
            return answer.state is AgentState.RUNNING

        eventually(taken_back, "RUNNING")
        assert says(ws, AgentState.RUNNING, nonce)
        resume(ws, ask(ws))

"""`wvs-agent run` in a freeze: everything that the command has become stands still, and goes on again (SPEC §8; H9)."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest

from executor.contract import StopSignal
from executor.freeze import freeze
from executor.layout import WorkspaceLayout
from tests.agent.journals import assert_one_moment
from tests.agent.running import GENTLE, JOURNAL, PYTHON, Running, is_keeper, is_still, running
from tests.agent.scene import Limits, a_task, control_of, leave_control
from tests.waiting import eventually
from wvs_agent import processes, protocol
from wvs_agent.config import FreezerKind
from wvs_agent.protocol import AgentState, AgentStatus, ControlState

KINDS = [FreezerKind.SIGNALS, pytest.param(FreezerKind.CGROUP, marks=pytest.mark.root)]
PATIENT = Limits(quiesce_timeout=60.0, freeze_lease=30.0)
LEASE = 3.0
"""Seconds: enough to stop and to flush on a machine with other work, and soon over."""
DEAF = "trap '' TERM HUP INT; echo ready; while :; do sleep 1000; done"


def said(ws: WorkspaceLayout) -> AgentStatus | None:
    return protocol.read_agent(ws.agent_file)


def says(ws: WorkspaceLayout, state: AgentState, nonce: str) -> bool:
    answer = said(ws)
    return answer is not None and answer.state is state and answer.nonce == nonce


def ask(ws: WorkspaceLayout, lease: float = 30.0) -> str:
    """A REQUEST_FREEZE of an executor that does nothing more; its nonce, once the agent says FROZEN."""
    nonce = protocol.new_nonce()
    leave_control(ws, ControlState.REQUEST_FREEZE, nonce, lease)
    eventually(lambda: says(ws, AgentState.FROZEN, nonce), "FROZEN")
    return nonce


def resume(ws: WorkspaceLayout, nonce: str) -> None:
    leave_control(ws, ControlState.REQUEST_RESUME, nonce)
    eventually(lambda: says(ws, AgentState.RUNNING, nonce), "RUNNING")


def contents(tree: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tree.iterdir()}


def grows(tree: Path) -> None:
    before = contents(tree)
    eventually(lambda: contents(tree) != before, "the command goes on writing")


@pytest.mark.rule("§8")
@pytest.mark.parametrize("kind", KINDS)
def test_all_that_the_command_has_become_stands_still_and_goes_on(
    ws: WorkspaceLayout, stop: StopSignal, kind: FreezerKind
) -> None:
    tree = ws.live("initial")
    with running(ws.root, JOURNAL, kind=kind) as run:
        assert run.hear() == "started"
        for _ in range(3):
            grows(tree)
            with freeze(ws, a_task(), PATIENT, stop) as quiet:
                assert quiet.attached
                assert len(run.command()) == 4
                assert run.all_still()
                before = contents(tree)
                assert_one_moment(tree)
                assert contents(tree) == before
                quiet.check()
            assert quiet.report.resumed
        grows(tree)


@pytest.mark.rule("§8")
@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_starts_others_without_end_stands_still(
    ws: WorkspaceLayout, stop: StopSignal, kind: FreezerKind
) -> None:
    """vfork() leaves the parent unstoppable until its child has called exec, which a stopped child never does."""
    script = "import subprocess\nprint('ready', flush=True)\nwhile True: subprocess.run(['true'])"
    with running(ws.root, [PYTHON, "-c", script], kind=kind) as run:
        assert run.hear() == "ready"
        for _ in range(8):
            with freeze(ws, a_task(), PATIENT, stop) as quiet:
                assert run.all_still()
            assert quiet.report.resumed


CHAIN = (
    "import os\nprint('ready', flush=True)\nfd = os.open('chain', os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
    "if os.fork():\n import time\n time.sleep(1000)\n"
    "while True:\n os.write(fd, b'x')\n if os.fork(): os._exit(0)"
)
"""Each lives for a moment, starts the next and ends: whoever looks at a list of processes comes too late."""


@pytest.mark.rule("§8")
@pytest.mark.root
def test_a_chain_of_orphans_that_never_rests_stands_still_in_a_cgroup(ws: WorkspaceLayout, stop: StopSignal) -> None:
    chain = ws.live("initial") / "chain"
    with running(ws.root, [PYTHON, "-c", CHAIN], kind=FreezerKind.CGROUP) as run:
        assert run.hear() == "ready"
        for _ in range(3):
            with freeze(ws, a_task(), PATIENT, stop) as quiet:
                before = chain.stat().st_size
                assert run.all_still()
                assert len(run.command()) >= 2  # one more where a link was caught between its fork and its end
                assert chain.stat().st_size == before
            assert quiet.report.resumed
            eventually(lambda before=before: chain.stat().st_size > before, "the chain goes on")  # type: ignore[misc]


@pytest.mark.rule("§8")
def test_what_was_stopped_before_the_freeze_is_stopped_after_it(ws: WorkspaceLayout, stop: StopSignal) -> None:
    with running(ws.root, ["sh", "-c", "sleep 1000 & kill -STOP $!; echo $!; wait"]) as run:
        sleeper = int(run.hear())
        eventually(lambda: set(processes.task_states(sleeper).values()) == {"T"}, "the child is stopped")
        with freeze(ws, a_task(), PATIENT, stop):
            assert run.all_still()
        assert set(processes.task_states(sleeper).values()) == {"T"}
        assert not run.all_still()


@pytest.mark.rule("§8")
@pytest.mark.parametrize("kind", KINDS)
def test_a_freeze_whose_lease_ends_is_over_by_itself(ws: WorkspaceLayout, kind: FreezerKind) -> None:
    with running(ws.root, GENTLE, kind=kind) as run:
        assert run.hear() == "started"
        nonce = ask(ws, lease=LEASE)
        eventually(lambda: says(ws, AgentState.RUNNING, nonce), "RUNNING after the lease")
        grows(ws.live("initial"))
        control = control_of(ws)
        protocol.replace_file(ws.control, dataclasses.replace(control, renewal=1, lease_seconds=30.0).encode())
        resume(ws, ask(ws))  # a later freeze is answered; the old nonce was not
        assert run.child.poll() is None


@pytest.mark.rule("H9")
@pytest.mark.rule("H4")
@pytest.mark.parametrize("kind", KINDS)
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
@pytest.mark.parametrize("kind", KINDS)
def test_a_watcher_killed_while_all_runs_leaves_nothing_running(ws: WorkspaceLayout, kind: FreezerKind) -> None:
    with running(ws.root, GENTLE, kind=kind) as run:
        assert run.hear() == "started"
        run.kill()
        wait_until_gone(run)


@pytest.mark.rule("H9")
@pytest.mark.parametrize("kind", KINDS)
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
@pytest.mark.parametrize("kind", KINDS)
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
@pytest.mark.parametrize("kind", KINDS)
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


@pytest.mark.rule("§8")
@pytest.mark.parametrize("kind", KINDS)
def test_a_command_is_started_only_after_a_freeze_that_is_under_way(ws: WorkspaceLayout, kind: FreezerKind) -> None:
    leave_control(ws, ControlState.REQUEST_FREEZE, nonce := protocol.new_nonce())
    with running(ws.root, ["sh", "-c", "echo x > made; echo made"], kind=kind) as run:
        eventually(lambda: says(ws, AgentState.FROZEN, nonce), "FROZEN")
        assert run.command() == []
        resume(ws, nonce)
        assert run.hear() == "made"
        assert run.wait() == 0

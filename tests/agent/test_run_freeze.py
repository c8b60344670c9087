"""`wvs-agent run` in a freeze: everything that the command has become stands still, and goes on again (SPEC §8)."""

from __future__ import annotations

import pytest

from executor.contract import StopSignal
from executor.freeze import freeze
from executor.layout import WorkspaceLayout
from tests.agent.journals import assert_one_moment
from tests.agent.running import FREEZERS, GENTLE, JOURNAL, PYTHON, running
from tests.agent.scene import a_task, leave_control
from tests.agent.watching import LEASE, PATIENT, ask, contents, grows, renew, resume, says
from tests.waiting import eventually
from wvs_agent import processes, protocol
from wvs_agent.config import FreezerKind
from wvs_agent.protocol import AgentState, ControlState


@pytest.mark.rule("§8")
@pytest.mark.parametrize("kind", FREEZERS)
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
@pytest.mark.parametrize("kind", FREEZERS)
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
@pytest.mark.parametrize("kind", FREEZERS)
def test_a_freeze_whose_lease_ends_is_over_by_itself(ws: WorkspaceLayout, kind: FreezerKind) -> None:
    with running(ws.root, GENTLE, kind=kind) as run:
        assert run.hear() == "started"
        nonce = ask(ws, lease=LEASE)
        eventually(lambda: says(ws, AgentState.RUNNING, nonce), "RUNNING after the lease")
        grows(ws.live("initial"))
        renew(ws, 1, lease=30.0)
        resume(ws, ask(ws))  # a later freeze is answered; the old nonce was not
        assert run.child.poll() is None


@pytest.mark.rule("§8")
@pytest.mark.parametrize("kind", FREEZERS)
def test_a_command_is_started_only_after_a_freeze_that_is_under_way(ws: WorkspaceLayout, kind: FreezerKind) -> None:
    leave_control(ws, ControlState.REQUEST_FREEZE, nonce := protocol.new_nonce())
    with running(ws.root, ["sh", "-c", "echo x > made; echo made"], kind=kind) as run:
        eventually(lambda: says(ws, AgentState.FROZEN, nonce), "FROZEN")
        assert run.command() == []
        resume(ws, nonce)
        assert run.hear() == "made"
        assert run.wait() == 0

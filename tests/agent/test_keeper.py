"""The keeper, and a parent that cannot be stopped in vfork(): what a whole freeze shows by chance only (SPEC §8)."""

from __future__ import annotations

import signal
import subprocess

import pytest

from executor.layout import WorkspaceLayout
from tests.agent.running import PYTHON
from tests.waiting import eventually
from wvs_agent import processes, protocol
from wvs_agent.freezer import Freezer
from wvs_agent.keeper_link import KeeperLink, Kept
from wvs_agent.processes import Process


def is_stopped(pid: int) -> bool:
    return set(processes.task_states(pid).values()) == {"T"}


@pytest.mark.rule("H9")
def test_a_renewal_after_the_keeper_has_thawed_the_command_is_refused(link: KeeperLink) -> None:
    """Whoever hangs past its lease and then renews it would call FROZEN what runs."""
    pid = link.command(foreground=False)
    command = processes.look(pid)
    assert command is not None
    processes.send(command, signal.SIGSTOP)
    eventually(lambda: is_stopped(pid), "the command is stopped")
    assert link.lease(protocol.clock())
    eventually(lambda: not is_stopped(pid), "the keeper thaws it")
    assert not link.lease(protocol.clock() + 30.0)
    assert not link.lease(protocol.clock() + 30.0)
    link.thawed()
    assert link.lease(protocol.clock() + 30.0)  # the next freeze is another matter
    link.thawed()


@pytest.mark.rule("H9")
def test_a_keeper_that_is_started_in_a_freeze_knows_its_lease_from_the_start(ws: WorkspaceLayout) -> None:
    """Whoever freezes may die before it can tell."""
    link = KeeperLink(Kept(ws.root, protocol.new_nonce(), 0.1, None, ("sleep", "1000")))
    with subprocess.Popen(["sleep", "1000"]) as orphan:
        found = processes.look(orphan.pid)
        assert found is not None
        processes.send(found, signal.SIGSTOP)
        eventually(lambda: is_stopped(orphan.pid), "it is stopped")
        try:
            link.start([found], lease_end=protocol.clock())
            eventually(lambda: not is_stopped(orphan.pid), "the keeper thaws it")
        finally:
            link.dismiss()
            orphan.kill()


VFORK = """
import ctypes, os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})
number = {"x86_64": 56, "aarch64": 220, "riscv64": 220}[os.uname().machine]
CLONE_VFORK = 0x4000
if ctypes.PyDLL(None).syscall(number, CLONE_VFORK | signal.SIGCHLD, 0, 0, 0, 0) == 0:
    os.write(1, b"vforked\\n")
    signal.sigwait({signal.SIGCONT})
    os.execvp("sleep", ["sleep", "1000"])
signal.pause()
"""
"""Its child calls exec once it has been stopped and set free, and not sooner; until then the parent is unstoppable."""


@pytest.mark.rule("§8")
def test_a_parent_that_waits_in_vfork_is_stopped_once_its_child_was_set_free() -> None:
    with subprocess.Popen([PYTHON, "-c", VFORK], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None

        def members() -> list[Process]:
            first = processes.look(parent.pid)
            return [*([first] if first else []), *processes.below([parent.pid])]

        freezer = Freezer(members)
        try:
            assert parent.stdout.readline() == b"vforked\n"
            eventually(lambda: "D" in processes.task_states(parent.pid).values(), "the parent waits for its child")
            found = freezer.stop(10.0)
            assert len(found) == 2
            assert all(is_stopped(each.pid) for each in found)
        finally:
            for each in reversed(members()):
                processes.send(each, signal.SIGKILL)
            freezer.thaw()

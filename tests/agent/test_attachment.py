"""An agent that lost its lock while it lived takes it again, and hears what happened meanwhile (SPEC §8; H4, H6)."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.contract import StopSignal
from executor.freeze import freeze
from executor.layout import WorkspaceLayout
from tests.agent.running import running
from tests.agent.scene import LIMIT, SECOND_LIVE, Limits, a_task, agent_lock_is_free, switch, wait_for
from wvs_agent import QuiesceWatcher
from wvs_agent.keeper_link import KeeperLink
from wvs_agent.protocol import AgentLock

pytestmark = pytest.mark.rule("H4")


class Program:
    """Hears the callbacks."""

    def __init__(self) -> None:
        self.heard: queue.Queue[str] = queue.Queue()
        self.descriptors: queue.Queue[int] = queue.Queue()

    def on_freeze(self) -> None:
        self.heard.put("freeze")

    def on_resume(self, current: str) -> None:
        self.heard.put(f"resume {current}")


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
def watcher(ws: WorkspaceLayout, program: Program) -> Iterator[QuiesceWatcher]:
    with QuiesceWatcher(ws.root, program.on_freeze, program.on_resume, on_lock=program.descriptors.put) as attached:
        yield attached


def detach(ws: WorkspaceLayout) -> None:
    """As an operator's detach does it: whoever holds the old file holds nothing."""
    fresh = ws.wvs / "agent.lock.new"
    fresh.touch()
    fresh.rename(ws.agent_lock)


def has_open(pid: int, path: Path) -> bool:
    return any(path.samefile(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.exists())


def test_the_lock_is_taken_again_and_the_next_freeze_is_an_ordinary_one(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program, stop: StopSignal
) -> None:
    detach(ws)
    assert program.descriptors.get(timeout=LIMIT) == watcher.lock_fd
    wait_for(lambda: not agent_lock_is_free(ws.root), "the agent is attached again")
    with freeze(ws, a_task(), Limits(), stop) as quiet:
        quiet.check(margin=1.0)
    assert quiet.report.resumed is True
    assert [program.heard.get(timeout=LIMIT) for _ in range(2)] == ["freeze", "resume live/initial"]


@pytest.mark.rule("H6")
def test_a_switch_that_the_agent_was_not_asked_about_is_told_to_the_program(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program, stop: StopSignal
) -> None:
    detach(ws)
    with freeze(ws, a_task(), Limits(), stop) as quiet:
        if not quiet.attached:  # else the agent was quicker, and was asked
            switch(ws)
    if not quiet.attached:
        assert program.heard.get(timeout=LIMIT) == f"resume {SECOND_LIVE}"
    assert watcher.attached


def hand_over(ws: WorkspaceLayout, link: KeeperLink) -> None:
    """The lock as the keeper's only: the agent itself is gone."""
    lock = AgentLock(ws.agent_lock)
    assert lock.try_acquire()
    link.lock(lock.fileno())
    lock.close()


def test_the_keeper_holds_the_lock_that_was_taken_again(ws: WorkspaceLayout, link: KeeperLink) -> None:
    """If wvs-agent is killed, nobody can take the command for gone before the keeper has ended it."""
    hand_over(ws, link)
    assert not agent_lock_is_free(ws.root)
    link.dismiss()
    assert agent_lock_is_free(ws.root)


def test_a_command_that_is_started_afterwards_holds_it_too(ws: WorkspaceLayout, link: KeeperLink) -> None:
    hand_over(ws, link)
    pid = link.command(foreground=False)
    wait_for(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the command runs")
    assert has_open(pid, ws.agent_lock)


def test_wvs_agent_run_gives_the_lock_that_was_taken_again_to_its_keeper(ws: WorkspaceLayout) -> None:
    with running(ws.root, ("sh", "-c", "echo started; exec sleep 1000")) as run:
        assert run.hear() == "started"
        detach(ws)
        wait_for(lambda: has_open(run.keeper.pid, ws.agent_lock), "the keeper holds it too")
        assert not agent_lock_is_free(ws.root)

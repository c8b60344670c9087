"""The agent's side: what it says, when it says it, and that nothing stays frozen. The executor is played by hand."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import mmap
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.layout import WorkspaceLayout
from tests.agent.scene import LIMIT, SECOND_LIVE, HandAgent, leave_control, switch, wait_for
from wvs_agent import AttachTimeoutError, QuiesceWatcher, fsync_open_files, protocol
from wvs_agent.protocol import AgentLock, AgentState, AgentStatus, Control, ControlState
from wvs_agent.standstill import AgentSide

NONCE = "a" * 32
OTHER_NONCE = "b" * 32
LONG = 300.0


class Program:
    """Hears the callbacks; can be told to hang or to fail in them."""

    def __init__(self) -> None:
        self.heard: queue.Queue[str] = queue.Queue()
        self.may_stop = threading.Event()
        self.may_stop.set()
        self.fails = False

    def on_freeze(self) -> None:
        self.heard.put("freeze")
        assert self.may_stop.wait(LIMIT)
        if self.fails:
            raise RuntimeError("I will not")

    def on_resume(self, current: str) -> None:
        self.heard.put(f"resume {current}")

    def hears(self, what: str) -> None:
        assert self.heard.get(timeout=LIMIT) == what


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
def watcher(ws: WorkspaceLayout, program: Program) -> Iterator[QuiesceWatcher]:
    made = QuiesceWatcher(ws.root, program.on_freeze, program.on_resume, agent_id="me")
    yield made
    program.may_stop.set()
    control = protocol.read_control(ws.control)
    if control is not None:
        resume(ws, control)
    made.detach()


def request(ws: WorkspaceLayout, nonce: str = NONCE, lease: float = LONG) -> Control:
    return leave_control(ws, ControlState.REQUEST_FREEZE, nonce, lease)


def resume(ws: WorkspaceLayout, asked: Control, current: str | None = None) -> None:
    control = dataclasses.replace(asked, state=ControlState.REQUEST_RESUME, current=current or asked.current)
    protocol.replace_file(ws.control, control.encode())


def said(ws: WorkspaceLayout) -> tuple[AgentState, str, int]:
    status = protocol.read_agent(ws.agent_file)
    assert status is not None
    return status.state, status.nonce, status.renewal


def wait_said(ws: WorkspaceLayout, *words: object) -> AgentStatus:
    wait_for(lambda: said(ws)[: len(words)] == words, f"the agent says {words}")
    status = protocol.read_agent(ws.agent_file)
    assert status is not None
    return status


def test_a_freeze_and_its_resume(ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program) -> None:
    watcher.attach()
    assert said(ws) == (AgentState.RUNNING, "", 0)
    for nonce in (NONCE, OTHER_NONCE):
        asked = request(ws, nonce)
        program.hears("freeze")
        assert wait_said(ws, AgentState.FROZEN, nonce, 0).agent_id == "me"
        resume(ws, asked)
        program.hears("resume live/initial")
        assert wait_said(ws, AgentState.RUNNING, nonce, 0).current == "live/initial"


def test_frozen_is_not_said_before_the_program_has_stopped(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program
) -> None:
    watcher.attach()
    program.may_stop.clear()
    asked = request(ws)
    program.hears("freeze")
    assert said(ws)[0] is AgentState.RUNNING
    resume(ws, asked)
    program.may_stop.set()
    program.hears("resume live/initial")
    wait_said(ws, AgentState.RUNNING, NONCE)


def test_a_program_that_does_not_stop_refuses_and_goes_on(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program
) -> None:
    watcher.attach()
    program.fails = True
    request(ws)
    program.hears("freeze")
    program.hears("resume live/initial")
    wait_said(ws, AgentState.RUNNING, NONCE)
    program.fails = False
    request(ws, OTHER_NONCE)
    program.hears("freeze")
    wait_said(ws, AgentState.FROZEN, OTHER_NONCE)


def test_files_that_cannot_be_flushed_refuse_the_freeze(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.attach()

    def broken(root: object) -> int:
        raise OSError(errno.EIO, "lost")

    monkeypatch.setattr("wvs_agent.standstill.fsync_open_files", broken)
    request(ws)
    program.hears("freeze")
    program.hears("resume live/initial")
    wait_said(ws, AgentState.RUNNING, NONCE)


def test_an_agent_whose_lease_ends_thaws_and_never_goes_back_for_that_nonce(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program
) -> None:
    watcher.attach()
    asked = request(ws, lease=0.2)
    program.hears("freeze")
    program.hears("resume live/initial")
    wait_said(ws, AgentState.RUNNING, NONCE)
    protocol.replace_file(ws.control, dataclasses.replace(asked, renewal=5, lease_seconds=LONG).encode())
    request(ws, OTHER_NONCE)
    program.hears("freeze")
    wait_said(ws, AgentState.FROZEN, OTHER_NONCE)
    assert program.heard.empty()


def test_it_says_running_before_the_program_moves_when_the_lease_ends(ws: WorkspaceLayout) -> None:
    seen: queue.Queue[AgentState] = queue.Queue()
    with QuiesceWatcher(ws.root, lambda: None, lambda _: seen.put(said(ws)[0])):
        request(ws, lease=0.1)
        assert seen.get(timeout=LIMIT) is AgentState.RUNNING


def test_each_renewal_extends_the_lease_and_is_echoed(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program
) -> None:
    watcher.attach()
    asked = request(ws, lease=1.0)
    program.hears("freeze")
    for renewal in range(1, 6):
        wait_said(ws, AgentState.FROZEN, NONCE, renewal - 1)
        longer = dataclasses.replace(asked, renewal=renewal, lease_seconds=1.0 if renewal < 5 else LONG)
        protocol.replace_file(ws.control, longer.encode())
    wait_said(ws, AgentState.FROZEN, NONCE, 5)
    assert program.heard.empty()


@pytest.mark.rule("G4")
@pytest.mark.parametrize("damage", ["half", "missing"])
def test_a_damaged_control_file_neither_freezes_nor_thaws(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program, damage: str
) -> None:
    def harm(data: bytes) -> None:
        ws.control.unlink(missing_ok=True)
        if damage == "half":
            protocol.replace_file(ws.control, data[: len(data) // 2])

    watcher.attach()
    asked = request(ws, lease=1.0)
    program.hears("freeze")
    wait_said(ws, AgentState.FROZEN, NONCE, 0)
    harm(asked.encode())
    program.hears("resume live/initial")  # when the lease ends, and not by the damage
    assert said(ws)[:2] == (AgentState.RUNNING, NONCE)
    harm(dataclasses.replace(asked, nonce=OTHER_NONCE).encode())
    asked = request(ws, "c" * 32)
    program.hears("freeze")
    wait_said(ws, AgentState.FROZEN, "c" * 32)


def test_another_executors_request_ends_the_standstill_for_a_dead_one(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program
) -> None:
    watcher.attach()
    request(ws)
    program.hears("freeze")
    wait_said(ws, AgentState.FROZEN, NONCE)
    request(ws, OTHER_NONCE)
    program.hears("resume live/initial")
    program.hears("freeze")
    wait_said(ws, AgentState.FROZEN, OTHER_NONCE)


@pytest.mark.rule("H6")
def test_it_thaws_only_when_it_sees_the_current_that_the_executor_named(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.attach()
    asked = request(ws)
    program.hears("freeze")
    wait_said(ws, AgentState.FROZEN, NONCE)
    looks, look = itertools.count(), AgentSide.current
    looked = threading.Event()

    def current(side: AgentSide) -> str:
        if next(looks) == 2:
            looked.set()
        return look(side)

    monkeypatch.setattr(AgentSide, "current", current)
    resume(ws, asked, SECOND_LIVE)
    assert looked.wait(LIMIT), "it looks again and again while it sees the old one"
    assert said(ws)[0] is AgentState.FROZEN
    assert program.heard.empty()
    switch(ws, SECOND_LIVE)
    program.hears(f"resume {SECOND_LIVE}")
    assert wait_said(ws, AgentState.RUNNING, NONCE).current == SECOND_LIVE


@pytest.mark.rule("H6")
def test_it_thaws_in_the_end_though_it_still_sees_the_old_current(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CURRENT_WAIT_LIMIT", 0.2)
    watcher.attach()
    asked = request(ws)
    program.hears("freeze")
    resume(ws, asked, SECOND_LIVE)
    program.hears("resume live/initial")
    assert wait_said(ws, AgentState.RUNNING, NONCE).current == "live/initial"


def test_files_left_open_in_the_old_tree_are_reported(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program
) -> None:
    watcher.attach()
    (ws.root / SECOND_LIVE).mkdir()
    with (ws.current / "old\nname").open("w"), (ws.root / SECOND_LIVE / "new").open("w"):
        asked = request(ws)
        program.hears("freeze")
        switch(ws, SECOND_LIVE)
        resume(ws, asked, SECOND_LIVE)
        program.hears(f"resume {SECOND_LIVE}")
        handles = wait_said(ws, AgentState.RUNNING, NONCE).old_handles
    assert [handle.split(" ", 2)[2] for handle in handles] == ["live/initial/old\\nname"]


@pytest.mark.rule("H10")
def test_a_full_disk_does_not_keep_the_program_frozen(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.attach()
    request(ws, lease=0.5)
    program.hears("freeze")
    wait_said(ws, AgentState.FROZEN, NONCE)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        program.hears("resume live/initial")


@pytest.mark.rule("H10")
def test_a_frozen_that_cannot_be_written_lets_the_program_go_on(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.attach()
    asked = leave_control(ws, ControlState.RUNNING, "")
    frozen = dataclasses.replace(asked, state=ControlState.REQUEST_FREEZE, nonce=NONCE, lease_seconds=LONG)
    staged = protocol.stage_file(ws.control, frozen.encode(), suffix="test")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        staged.rename(ws.control)
        program.hears("freeze")
        program.hears("resume live/initial")


@pytest.mark.rule("H4")
def test_attach_waits_while_the_lock_is_taken_and_gives_up_at_its_limit(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, agent: HandAgent
) -> None:
    with pytest.raises(AttachTimeoutError):
        watcher.attach(timeout=0.1)
    assert not ws.agent_file.exists()
    attaching = threading.Thread(target=watcher.attach)
    attaching.start()
    agent.close()
    attaching.join()
    assert watcher.attached


@pytest.mark.rule("H4")
def test_attach_waits_for_the_end_of_a_freeze_that_is_under_way(ws: WorkspaceLayout, watcher: QuiesceWatcher) -> None:
    asked = request(ws)
    attaching = threading.Thread(target=watcher.attach)
    attaching.start()
    wait_for(ws.agent_file.exists, "the newcomer answers for the agent that died")
    wait_said(ws, AgentState.FROZEN, NONCE)
    assert attaching.is_alive()
    resume(ws, asked)
    attaching.join()
    assert watcher.attached
    assert said(ws)[:2] == (AgentState.RUNNING, NONCE)


@pytest.mark.rule("G2")
def test_attach_takes_back_the_frozen_of_an_agent_that_died(ws: WorkspaceLayout, watcher: QuiesceWatcher) -> None:
    dead = HandAgent(ws)
    dead.say(AgentState.FROZEN, NONCE)
    dead.close()
    leave_control(ws, ControlState.REQUEST_RESUME, NONCE)
    watcher.attach()
    assert said(ws) == (AgentState.RUNNING, "", 0)


def test_attach_does_not_wait_for_a_request_that_the_agent_before_has_ended(
    ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program
) -> None:
    dead = HandAgent(ws)
    dead.say(AgentState.RUNNING, NONCE)
    dead.close()
    request(ws)
    watcher.attach()
    request(ws, OTHER_NONCE)
    program.hears("freeze")
    wait_said(ws, AgentState.FROZEN, OTHER_NONCE)


def test_detach_frees_the_lock_and_ends_the_thread(ws: WorkspaceLayout, program: Program) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    executor = AgentLock(ws.agent_lock)
    for _ in range(3):
        with QuiesceWatcher(ws.root, program.on_freeze, program.on_resume) as watcher:
            assert not executor.try_acquire()
        watcher.detach()
    assert executor.try_acquire()
    executor.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "wvs-quiesce"]


def test_detach_in_a_freeze_waits_for_its_end(ws: WorkspaceLayout, watcher: QuiesceWatcher, program: Program) -> None:
    watcher.attach()
    asked = request(ws)
    program.hears("freeze")
    wait_said(ws, AgentState.FROZEN, NONCE)
    executor = AgentLock(ws.agent_lock)
    detaching = threading.Thread(target=watcher.detach)
    detaching.start()
    assert not executor.try_acquire()
    resume(ws, asked)
    detaching.join()
    assert executor.try_acquire()
    executor.close()
    assert said(ws)[:2] == (AgentState.RUNNING, NONCE)


@pytest.mark.rule("H4")
def test_a_child_that_inherited_the_lock_keeps_the_workspace_attached(
    ws: WorkspaceLayout, watcher: QuiesceWatcher
) -> None:
    watcher.attach()
    assert os.get_inheritable(watcher.lock_fd)
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[watcher.lock_fd]
    )
    executor = AgentLock(ws.agent_lock)
    try:
        watcher.detach()
        assert not executor.try_acquire()
    finally:
        child.communicate()
    assert executor.try_acquire()
    executor.close()


def test_a_callback_cannot_detach(ws: WorkspaceLayout) -> None:
    errors: queue.Queue[str] = queue.Queue()

    def on_freeze() -> None:
        try:
            embedded.detach()
        except RuntimeError as error:
            errors.put(str(error))

    with QuiesceWatcher(ws.root, on_freeze, lambda _: None) as embedded:
        request(ws, lease=0.1)
        assert "wait for itself" in errors.get(timeout=LIMIT)


def test_attaching_twice_or_where_there_is_no_workspace_is_refused(
    tmp_path: Path, watcher: QuiesceWatcher, program: Program
) -> None:
    watcher.attach()
    with pytest.raises(RuntimeError, match="already"):
        watcher.attach()
    with pytest.raises(FileNotFoundError):
        QuiesceWatcher(tmp_path / "none", program.on_freeze, program.on_resume).attach()
    watcher.detach()
    with pytest.raises(RuntimeError, match="not attached"):
        _ = watcher.lock_fd


@pytest.mark.rule("H1")
def test_every_file_open_for_writing_is_flushed_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: set[int] = set()
    monkeypatch.setattr(os, "fsync", flushed.add)
    (tmp_path / "file").touch()
    modes = {"w": os.O_WRONLY, "rw": os.O_RDWR, "a": os.O_WRONLY | os.O_APPEND, "r": os.O_RDONLY}
    opened = {name: os.open(tmp_path / "file", mode) for name, mode in modes.items()}
    reading, writing = os.pipe()
    elsewhere = os.open("/dev/null", os.O_WRONLY)
    try:
        fsync_open_files(tmp_path)
    finally:
        for fd in (*opened.values(), reading, writing, elsewhere):
            os.close(fd)
    assert {opened["w"], opened["rw"], opened["a"]} <= flushed
    assert flushed.isdisjoint({opened["r"], reading, writing, elsewhere})


@pytest.mark.rule("H1")
def test_a_closed_file_that_is_mapped_for_writing_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "mapped file"
    place.write_bytes(b"x" * 4096)
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    with place.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    # mmap keeps a descriptor of its own: it is the mapping that must be found when there is none.
    with mapping:
        monkeypatch.setattr("wvs_agent.handles.descriptors", lambda _: iter(()))
        fsync_open_files(tmp_path)
    assert str(place) in flushed

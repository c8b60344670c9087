"""A workspace on any directory, an agent that speaks the protocol by hand, and the processes of both sides."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from executor.contract import ExecuteTask, OperationName
from executor.layout import Layout, WorkspaceLayout
from wvs_agent import protocol
from wvs_agent.protocol import AgentLock, AgentState, AgentStatus, Control, ControlState
from wvs_agent.ready import readable

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 20.0
TASK_ID = "task-01890000-0000-7000-8000-000000000001"
SECOND_LIVE = "live/live-01890000-0000-7000-8000-000000000002"


@dataclass(frozen=True)
class Limits:
    """What freeze() reads of the configuration, in seconds."""

    quiesce_timeout: float = 10.0
    freeze_lease: float = 10.0
    freeze_max: float = 60.0


@dataclass(frozen=True)
class Views:
    """One workspace as the executor sees it, and its root as the agent sees it."""

    ws: WorkspaceLayout
    agent_root: Path


def make_workspace(mount: Path, wsid: str = "demo") -> WorkspaceLayout:
    """The directory of SPEC §2, as init_workspace makes it."""
    ws = Layout(mount).workspace(wsid)
    for directory in (ws.live("initial"), ws.snapshots_dir, ws.agent_dir, ws.staging_dir):
        directory.mkdir(parents=True)
    ws.agent_lock.touch(0o666)
    ws.current.symlink_to("live/initial")
    return ws


def a_task(fence: int = 1) -> ExecuteTask:
    return ExecuteTask(
        task_id=TASK_ID, wsid="demo", op=OperationName.SNAPSHOT_CREATE, fence=fence, timeout_seconds=300.0
    )


def switch(ws: WorkspaceLayout, target: str = SECOND_LIVE) -> None:
    """Replace `current` as set_current does."""
    (ws.root / target).mkdir(exist_ok=True)
    temporary = ws.wvs / "current.tmp"
    temporary.symlink_to(target)
    temporary.rename(ws.current)


def wait_for(look: Callable[[], bool], what: str, limit: float = LIMIT) -> None:
    """Wait until `look` says yes; fail after `limit` seconds."""
    pause = threading.Event()
    end = protocol.clock() + limit
    while not look():
        assert protocol.clock() < end, f"not within {limit} s: {what}"
        pause.wait(0.005)


def control_of(ws: WorkspaceLayout) -> Control:
    control = protocol.read_control(ws.control)
    assert control is not None
    return control


def leave_control(ws: WorkspaceLayout, state: ControlState, nonce: str, lease_seconds: float = 10.0) -> Control:
    """A control.json that some executor left there."""
    control = Control(
        state=state,
        nonce=nonce,
        renewal=0,
        lease_seconds=lease_seconds,
        task_id=TASK_ID,
        fence=1,
        current="live/initial",
        updated_at=protocol.now_text(),
    )
    protocol.replace_file(ws.control, control.encode())
    return control


def agent_lock_is_free(root: Path) -> bool:
    """Whether nobody is attached to the workspace with that root, by whatever mount it is seen."""
    lock = AgentLock(root / protocol.AGENT_LOCK)
    try:
        return lock.try_acquire()
    finally:
        lock.close()


class HandAgent:
    """Holds the agent lock and says what the test wants, true or not."""

    def __init__(self, ws: WorkspaceLayout, agent_id: str = "hand") -> None:
        self.ws = ws
        self.agent_id = agent_id
        self.lock = AgentLock(ws.agent_lock)
        assert self.lock.try_acquire()

    def say(self, state: AgentState, nonce: str, renewal: int = 0, **other: object) -> None:
        status = AgentStatus(
            agent_id=self.agent_id,
            state=state,
            nonce=nonce,
            renewal=renewal,
            current="live/initial",
            old_handles=(),
            updated_at=protocol.now_text(),
        )
        protocol.replace_file(self.ws.agent_file, dataclasses.replace(status, **other).encode())  # type: ignore[arg-type]

    def asked(self, state: ControlState = ControlState.REQUEST_FREEZE) -> Control:
        """Wait until the executor says that."""
        found: list[Control] = []

        def look() -> bool:
            control = protocol.read_control(self.ws.control)
            found[:] = [control] if control and control.state is state else []
            return bool(found)

        wait_for(look, f"control.json says {state}")
        return found[0]

    def obey(self, **other: object) -> threading.Thread:
        """Say FROZEN when asked and RUNNING when resumed, in a thread; echoes nothing after its ack."""
        nonces = {protocol.read_control(self.ws.control)}

        def run() -> None:
            wait_for(lambda: protocol.read_control(self.ws.control) not in nonces, "a new request")
            asked = self.asked()
            self.say(AgentState.FROZEN, asked.nonce, asked.renewal, **other)
            resume = self.asked(ControlState.REQUEST_RESUME)
            self.say(AgentState.RUNNING, resume.nonce, resume.renewal, current=resume.current)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def close(self) -> None:
        self.lock.close()


class Spoken:
    """A process of the tests that tells what happens to it, one line each."""

    def __init__(self, module: str, *arguments: object, pass_fds: tuple[int, ...] = ()) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=pass_fds,
        )
        self._heard = b""

    def hear(self, line: str, limit: float = LIMIT) -> str:
        """Wait until the process says a line that begins with `line`; lines before it are forgotten."""
        assert self.child.stdout is not None
        end = protocol.clock() + limit
        while True:
            while b"\n" in self._heard:
                first, _, self._heard = self._heard.partition(b"\n")
                if first.decode().startswith(line):
                    return first.decode()
            left = end - protocol.clock()
            ready = readable([self.child.stdout.fileno()], left)
            assert ready, f"not said within {limit} s: {line}"
            piece = os.read(self.child.stdout.fileno(), 65536)
            assert piece, f"the process ended ({self.child.wait()}) before it said: {line}"
            self._heard += piece

    def tell(self, line: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(line.encode() + b"\n")
        self.child.stdin.flush()

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def close(self) -> None:
        self.kill()
        for stream in (self.child.stdin, self.child.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def spoken(module: str, *arguments: object) -> Iterator[Spoken]:
    process = Spoken(module, *arguments)
    try:
        yield process
    finally:
        process.close()

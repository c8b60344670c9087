"""`wvs-agent conformance`: plays the executor against whoever is attached, to check an agent of other people's.

It asks for freezes as an executor would, and holds the executor's lock meanwhile. What would change a workspace (a
switch) is checked only in a scratch workspace that `make_scratch` made.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from wvs_agent import protocol
from wvs_agent.files import OPEN_FLAGS, UnsafeFileError
from wvs_agent.protocol import AgentLock, AgentState, AgentStatus, Control, ControlState, FileWatch, Lease

_EXECUTOR_LOCK: Final = ".wvs/lock"
_SCRATCH: Final = ".wvs/scratch"
TASK_ID: Final = "task-of-the-conformance-check"
RESUME_LIMIT: Final = protocol.RESUME_ANSWER_LIMIT


class NotExaminedError(Exception):
    """There is nothing to examine, or it must not be: why."""


class Failed(Exception):
    """The agent did not do what the protocol asks."""


class Skipped(Exception):
    """It cannot be told here, or must not be tried here."""


class Verdict(StrEnum):
    """What came out of one check."""

    OK = "ok"
    FAILED = "FAILED"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    name: str
    verdict: Verdict
    detail: str


def make_scratch(root: Path) -> None:
    """A workspace of its own for the check, as init_workspace makes one. Raises FileExistsError, OSError."""
    for directory in ("live/initial", "snapshots", ".wvs/agent", ".wvs/staging"):
        (root / directory).mkdir(parents=True)
    for name in (protocol.AGENT_LOCK, _EXECUTOR_LOCK, _SCRATCH):
        (root / name).touch()
    (root / protocol.AGENT_LOCK).chmod(0o666)
    (root / "current").symlink_to("live/initial")


class Bench:
    """The workspace as the executor has it in its hands."""

    def __init__(self, root: Path, *, timeout: float, lease: float) -> None:
        """`timeout`: seconds in which the agent must answer. `lease`: seconds of each renewal."""
        self.root: Final = root
        self.timeout: Final = timeout
        self.lease_seconds: Final = lease
        self._control_file = root / protocol.CONTROL_FILE
        self._agent_file = root / protocol.AGENT_FILE

    @property
    def is_scratch(self) -> bool:
        """Whether switches may be tried."""
        return (self.root / _SCRATCH).exists()

    def current(self) -> str:
        """Where `current` points."""
        return str((self.root / "current").readlink())

    def point_current(self, target: str) -> None:
        """Switch, as an executor does."""
        temporary = self.root / ".wvs" / "current.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.rename(self.root / "current")

    def is_attached(self) -> bool:
        """Whether somebody holds the agent lock."""
        lock = AgentLock(self.root / protocol.AGENT_LOCK)
        try:
            return not lock.try_acquire()
        finally:
            lock.close()

    def say(self, state: ControlState, nonce: str, renewal: int = 0, current: str | None = None) -> Lease:
        """Write control.json; our lease of it, begun before."""
        lease = Lease(protocol.clock(), self.lease_seconds)
        control = Control(
            state=state,
            nonce=nonce,
            renewal=renewal,
            lease_seconds=self.lease_seconds,
            task_id=TASK_ID,
            fence=0,
            current=self.current() if current is None else current,
            updated_at=protocol.now_text(),
        )
        protocol.replace_file(self._control_file, control.encode())
        return lease

    def scribble(self, data: bytes) -> None:
        """Put something into the place of control.json that no executor of ours writes."""
        protocol.replace_file(self._control_file, data)

    def answer(self) -> AgentStatus | None:
        """agent.json as it is. Raises Failed for what is no file of the protocol."""
        try:
            return protocol.read_agent(self._agent_file)
        except UnsafeFileError as error:
            raise Failed(str(error)) from error

    def await_answer(self, wanted: Callable[[AgentStatus], bool], limit: float, what: str) -> AgentStatus:
        """The first answer that is wanted. Raises Failed after `limit` seconds."""
        end = protocol.clock() + limit
        with FileWatch(self._agent_file) as watch:
            while True:
                watch.refresh()
                answer = self.answer()
                if answer is not None and wanted(answer):
                    return answer
                if not self.is_attached():
                    raise Failed("nobody is attached any more")
                left = end - protocol.clock()
                if left <= 0:
                    raise Failed(f"not within {limit:g} s: {what}")
                watch.wait(left)

    def await_renewal(self, renewal: int) -> AgentStatus:
        """The answer to that renewal. Raises Failed."""
        return self.await_answer(lambda said: said.renewal == renewal, self.timeout, f"an answer to renewal {renewal}")

    def watch_answers(self, seconds: float) -> Iterator[AgentStatus | None]:
        """What agent.json says, again and again for so long."""
        end = protocol.clock() + seconds
        with FileWatch(self._agent_file) as watch:
            while (left := end - protocol.clock()) > 0:
                yield self.answer()
                watch.wait(left)
                watch.refresh()

    def freeze(self) -> str:
        """Ask with a fresh nonce and wait for FROZEN; the nonce. The lease begins to run out. Raises Failed."""
        nonce = protocol.new_nonce()
        self.say(ControlState.REQUEST_FREEZE, nonce)
        answer = self.await_answer(lambda said: said.nonce == nonce, self.timeout, "an answer with our nonce")
        if answer.state is not AgentState.FROZEN:
            raise Failed(f"it refused the freeze: {answer.state}")
        return nonce

    def resume(self, nonce: str, current: str | None = None) -> AgentStatus:
        """Ask to go on, and wait for RUNNING. Raises Failed."""
        self.say(ControlState.REQUEST_RESUME, nonce, current=current)
        return self.await_answer(
            lambda said: said.nonce == nonce and said.state is AgentState.RUNNING, RESUME_LIMIT, "RUNNING"
        )

    @contextmanager
    def frozen(self) -> Iterator[str]:
        """A freeze that is taken back whatever happens."""
        nonce = ""
        try:
            nonce = self.freeze()
            yield nonce
        finally:
            self.say(ControlState.REQUEST_RESUME, nonce or protocol.new_nonce())

    def portrait(self) -> dict[str, Any]:
        """Everything in the current tree: kind, mode, size, times, and what is in it."""
        tree = self.root / self.current()
        return {str(path.relative_to(tree)): _look_at(path) for path in sorted(tree.rglob("*"))}

    def files(self) -> Iterator[Path]:
        """The regular files of the current tree."""
        for path in (self.root / self.current()).rglob("*"):
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


@contextmanager
def examined(root: Path, *, timeout: float, lease: float) -> Iterator[Bench]:
    """The bench, with the executor's lock held, and nobody left frozen at the end. Raises NotExaminedError, OSError."""
    if not (root / protocol.AGENT_LOCK).exists():
        raise NotExaminedError(f"{root} is no workspace")
    fd = os.open(root / _EXECUTOR_LOCK, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotExaminedError("an executor is at work in this workspace") from None
        bench = Bench(root, timeout=timeout, lease=lease)
        try:
            yield bench
        finally:
            bench.say(ControlState.RUNNING, "")
    finally:
        os.close(fd)


def await_attached(bench: Bench, seconds: float) -> None:
    """Wait for an agent. Raises NotExaminedError after so many seconds."""
    end = time.monotonic() + seconds
    while not bench.is_attached():
        if time.monotonic() >= end:
            raise NotExaminedError("nobody is attached")
        time.sleep(0.1)  # between two looks at the lock, which keep an agent from taking it for a moment


def _look_at(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    facts = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if stat.S_ISREG(status.st_mode):
        return (*facts, hashlib.sha256(path.read_bytes()).hexdigest())
    return facts

"""A supervised child process: its own session and group, a log file, an orderly end, and no life after its parent.

Every child carries the mark of its stack in the environment, which all its descendants inherit: what a crashed
stack left behind is found by that mark (`leftovers.py`), never by a process id that may belong to another by now.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from wvs_project.stack.accounts import Account, PopenAccount
from wvs_project.stack.errors import StackError
from wvs_project.stack.waiting import wait_until

MARK: Final = "WVS_STACK_MARK"
_PR_SET_PDEATHSIG: Final = 1
_LOG_TAIL_LINES: Final = 15
_REAP_SECONDS: Final = 10.0
# Looked up before any fork: in the child the linker's lock may be held by a thread that is gone.
_PRCTL: Final = ctypes.CDLL(None, use_errno=True).prctl


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `mark` names the stack it belongs to; `on_orphaned` is the signal it gets when its parent dies."""

    name: str
    argv: Sequence[str]
    log: Path
    mark: str
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = Path("/")
    account: Account | None = None
    stdin: str | None = None
    on_orphaned: signal.Signals = signal.SIGKILL


def _bind_to_parent(death_signal: int, parent: int) -> Callable[[], None]:
    def in_child() -> None:
        _PRCTL(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl: the signal will never come
            os._exit(1)

    return in_child


class Child:
    """One running process and everything in its process group."""

    def __init__(self, command: Command) -> None:
        """Start it. Raises StackError if the program cannot be executed.

        Call from a thread that lives as long as the child should: the kernel's "parent died" means that thread.
        """
        self.command = command
        as_account = command.account.popen_arguments() if command.account else PopenAccount()
        with command.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    list(command.argv),
                    stdin=subprocess.DEVNULL if command.stdin is None else subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=command.cwd,
                    env={**command.env, MARK: command.mark},
                    start_new_session=True,
                    preexec_fn=_bind_to_parent(command.on_orphaned, os.getpid()),
                    **as_account,
                )
            except OSError as error:
                raise StackError(f"{command.name}: {command.argv[0]} does not start: {error}") from None
        if command.stdin is not None:
            self._feed(command.stdin)

    def _feed(self, text: str) -> None:
        stdin: IO[bytes] | None = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError), stdin:  # it ended at once: the health check says so, with its log
            stdin.write(text.encode())

    @property
    def pid(self) -> int:
        """The process id, also that of its group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code after `stop` or `join`; None before."""
        return self._process.returncode

    def has_exited(self) -> bool:
        """Whether the process is over. It is not reaped by this, so its pid cannot become another's."""
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def wait_ready(self, is_ready: Callable[[], bool], *, limit: float) -> None:
        """Return when `is_ready`. Raises StackError with the end of the log when it exits first or `limit` passes."""

        def ready_or_over() -> bool:
            return self.has_exited() or is_ready()

        try:
            wait_until(ready_or_over, limit=limit, what=f"{self.command.name} is not ready")
        except StackError as error:
            raise StackError(f"{error}\n{self.log_tail()}") from None
        if self.has_exited():
            raise StackError(f"{self.command.name} ended while starting\n{self.log_tail()}")

    def join(self, *, limit: float) -> int:
        """Wait for its own end and return the exit code. Raises StackError, and kills it, after `limit` seconds."""
        try:
            wait_until(self.has_exited, limit=limit, what=f"{self.command.name} does not end")
        finally:
            self.kill()
        assert self.returncode is not None
        return self.returncode

    def stop(self, *, by: signal.Signals = signal.SIGTERM, grace: float) -> bool:
        """Ask it to end, wait `grace` seconds, then kill the whole group. True if it ended by itself."""
        willing = True
        if not self.has_exited():
            self._process.send_signal(by)
            try:
                wait_until(self.has_exited, limit=grace, what=self.command.name)
            except StackError:
                willing = False
        self.kill()
        return willing

    def kill(self) -> None:
        """SIGKILL to the process and its group, then reap it. Harmless when it is over."""
        if self._process.returncode is not None:
            return
        # Before the leader is reaped its group id is still its own.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(_REAP_SECONDS)

    def log_tail(self) -> str:
        """The last lines of its log, for a message to people."""
        lines = self.command.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return "\n".join([f"  end of {self.command.log}:", *(f"  | {line}" for line in lines)])

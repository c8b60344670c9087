"""Child processes of a run: clone and delete by the juicefs program (ENGINE "Cancel, time-out, child processes").

A child dies with the thread that started it, holds the workspace's lock as long as it lives, and is killed when the
run is stopped or overtaken. Killing the command does not prove that the mount process stopped: what it makes can only
land in the attempt's own staging.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final, Protocol

TERM_SECONDS: Final = 5.0
TICK_MS: Final = 1000
_STDERR_BYTES: Final = 4096
_PR_SET_PDEATHSIG: Final = 1
# Looked up before any fork: between fork and exec nothing may be imported, nor wait for the linker's lock.
_PRCTL: Final = ctypes.CDLL(None, use_errno=True).prctl


class ChildError(Exception):
    """The program did not start, or ended with another code than 0; the message is the end of what it said."""


class Watch(Protocol):
    """What may end a child early: a descriptor to select on, and a check that raises."""

    def fileno(self) -> int:
        """Readable when `check` will raise."""
        ...


def run(argv: Sequence[str | Path], *, stop: Watch, check: Callable[[], None], lock_fd: int | None) -> None:
    """Run a program to its end. `check` is called each second and when `stop` is readable; what it raises kills it.

    None for `lock_fd` where the caller holds no lock.
    Call from a thread that lives until this returns. Raises ChildError, and whatever `check` raises.
    """
    with tempfile.TemporaryFile() as said:
        process = _start([str(part) for part in argv], said, lock_fd)
        try:
            _wait(process, stop, check)
        except BaseException:
            _kill(process)
            raise
        if process.returncode != 0:
            raise ChildError(f"{Path(argv[0]).name} {argv[1]} ended with {process.returncode}: {_end_of(said)}")


def _start(argv: list[str], said: IO[bytes], lock_fd: int | None) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=() if lock_fd is None else (lock_fd,),
            process_group=0,
            cwd="/",
            preexec_fn=_in_child(os.getpid()),
        )
    except OSError as error:
        raise ChildError(f"{argv[0]} cannot be started: {error}") from error


def _in_child(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl: the signal will never come
            os._exit(1)
        # Worker threads may ignore or block these, and children inherit that.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    return prepare


def _wait(process: subprocess.Popen[bytes], stop: Watch, check: Callable[[], None]) -> None:
    pidfd = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(stop.fileno(), select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll(TICK_MS)}
            if pidfd in ready:
                process.wait()
                return
            check()
    finally:
        os.close(pidfd)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the group, 5 s, SIGKILL; never leaves a zombie."""
    if process.returncode is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(TERM_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_of(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _STDERR_BYTES))
    return said.read().decode(errors="replace").strip()

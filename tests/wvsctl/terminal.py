"""wvsctl in a process of its own, at a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.waiting import LIMIT, eventually
from wvs_agent.ready import readable

ROOT = Path(__file__).resolve().parent.parent.parent


class AtTerminal:
    """A running wvsctl: what it shows, and what is typed."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process = process
        self._terminal = terminal
        self.shown = ""

    def until(self, text: str) -> str:
        """Everything shown so far, once it has shown this."""
        self._read(lambda: text in self.shown)
        assert text in self.shown, self.shown
        return self.shown

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def interrupt(self) -> None:
        """What Ctrl-C does to who waits for something; a signal right before read() is heard after the next key."""
        process = psutil.Process(self.process.pid)
        eventually(lambda: process.status() == psutil.STATUS_SLEEPING, "it waits")
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Its exit code, once all that it showed was read."""
        self._read(lambda: False)
        return self.process.wait(LIMIT)

    def _read(self, is_enough: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT
        while not is_enough() and time.monotonic() < end:
            if not readable([self._terminal], 0.1):
                continue
            try:
                part = os.read(self._terminal, 4096)
            except OSError:  # the other side is closed
                return
            if not part:
                return
            self.shown += part.decode(errors="replace")


@contextmanager
def at_terminal(api_url: str, *arguments: str) -> Iterator[AtTerminal]:
    """It is gone afterwards."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "WVS_API_URL": api_url, "TERM": "xterm", "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    try:
        with _hearing_interrupts():
            process = subprocess.Popen(
                [sys.executable, "-m", "wvsctl", *arguments],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env=environment,
            )
        with process:
            os.close(theirs)
            try:
                yield AtTerminal(process, ours)
            finally:
                process.kill()
    finally:
        os.close(ours)


@contextmanager
def _hearing_interrupts() -> Iterator[None]:
    """What is started meanwhile hears Ctrl-C, as at a terminal, though the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

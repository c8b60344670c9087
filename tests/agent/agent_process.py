"""An agent in a process of its own: `python -m tests.agent.agent_process WORKSPACE [--hang] [--lie] [--wall FILE]`.

Appends to current/log in a thread and never fsyncs it by itself, unless it lies.
Says attached, freezing, frozen BYTES, resumed CURRENT; told `count` it says how many bytes it wrote, told `detach` it
ends.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path

from wvs_agent import QuiesceWatcher


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Writer:
    """One thread that writes until it is paused; the file stays open between writes."""

    def __init__(self, workspace: Path, *, flushes: bool) -> None:
        self._workspace = workspace
        self._flushes = flushes
        self._may_write = threading.Lock()
        self.written = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._fd = os.open(self._workspace / "current" / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._may_write:
                self.written += os.write(self._fd, b"x" * 64)
                if self._flushes:  # a lie that stays in this host's memory harms no snapshot, and nobody can see it
                    os.fsync(self._fd)
            time.sleep(0.001)

    def pause(self) -> None:
        self._may_write.acquire()

    def go_on(self) -> None:
        self._may_write.release()


def wall_clock_from(file: Path) -> None:
    """The wall clock of this process is off by the seconds in `file`, which may change at any time."""
    real, real_by_id = time.time, time.clock_gettime

    def offset() -> float:
        return float(file.read_text() or 0)

    time.time = lambda: real() + offset()
    time.clock_gettime = lambda which: real_by_id(which) + (offset() if which == time.CLOCK_REALTIME else 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--hang", action="store_true")
    parser.add_argument("--lie", action="store_true")
    parser.add_argument("--wall", type=Path)
    options = parser.parse_args()
    if options.wall:
        wall_clock_from(options.wall)
    writer = Writer(options.workspace, flushes=options.lie)

    def on_freeze() -> None:
        say("freezing")
        if options.hang:
            threading.Event().wait()
        if not options.lie:
            writer.pause()
        say(f"frozen {writer.written}")

    def on_resume(current: str) -> None:
        if not options.lie:
            writer.go_on()
        say(f"resumed {current}")

    with QuiesceWatcher(options.workspace, on_freeze, on_resume, agent_id="process"):
        say("attached")
        writer.start()
        for line in sys.stdin:
            if line.strip() == "detach":
                writer.pause()
                break
            say(f"count {writer.written}")


if __name__ == "__main__":
    main()

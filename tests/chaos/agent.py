"""An agent that never rests: `python -m tests.chaos.agent WORKSPACE STATUS_FILE`.

It writes its journal all the time, stands still when asked, and goes on in the tree that it is told of. STATUS_FILE, on
another disk, says how far it is and how long it has stood still. It ends with an error when its disk does not answer.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.chaos.journal import Writer
from wvs_agent import QuiesceWatcher

_PAUSE: Final = 0.02
_STATUS_EACH: Final = 0.1
_ATTACH_SECONDS: Final = 20.0


class Agent:
    """One writer, which holds `_working` while it writes; a freeze takes that away."""

    def __init__(self, workspace: Path, status: Path) -> None:
        self._tree = workspace / "current"
        self._status = status
        self._working = threading.Lock()
        self._writer: Writer | None = None
        self._frozen_at: float | None = None
        self._written = 0
        self._freezes = 0
        self._longest = 0.0
        self._failed = 0
        self._said_at = 0.0
        self._attached_at = 0.0

    def pause(self) -> None:
        self._working.acquire()
        self._frozen_at = time.monotonic()

    def resume(self, current: str) -> None:
        assert self._frozen_at is not None
        self._longest = max(self._longest, time.monotonic() - self._frozen_at)
        self._freezes += 1
        self._frozen_at = None
        # Maybe into another tree. What is half-done there is mended before anybody may ask for the next freeze.
        self._close()
        try:
            self._open()
        except OSError:
            self._failed += 1
        self._working.release()

    def attached(self) -> None:
        """From now on nothing may be cloned or switched without us."""
        self._attached_at = time.time()

    def work(self) -> None:
        """For ever; raises OSError for a disk that does not answer. A full one is waited out."""
        while True:
            with self._working:
                self._write()
            self._say()
            time.sleep(_PAUSE)

    def _write(self) -> None:
        try:
            self._open().write()
            self._written += 1
        except OSError as error:
            self._failed += 1
            if "space" not in str(error).lower() and "quota" not in str(error).lower():
                raise
            self._close()

    def _open(self) -> Writer:
        self._writer = self._writer or Writer(self._tree)
        return self._writer

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):  # of a disk that is gone
                writer.close()

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._said_at < _STATUS_EACH:
            return
        self._said_at = now
        new = self._status.with_suffix(".new")
        said = {"pid": os.getpid(), "written": self._written, "freezes": self._freezes, "longest": self._longest}
        new.write_text(json.dumps({**said, "failed": self._failed, "attached_at": self._attached_at}))
        new.replace(self._status)


def main() -> None:
    workspace, status = Path(sys.argv[1]), Path(sys.argv[2])
    agent = Agent(workspace, status)
    watcher = QuiesceWatcher(workspace, agent.pause, agent.resume, agent_id=f"chaos:{os.getpid()}")
    watcher.attach(_ATTACH_SECONDS)
    agent.attached()
    agent.work()


if __name__ == "__main__":
    main()

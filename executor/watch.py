"""Whether the mount is alive, looked at again and again in a way that a hanging mount cannot hang (SPEC §7).

A file system in user space can stop answering, and whoever asks it waits for ever: so a thread of its own asks, and
while it waits no other one is sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from executor.clone.choice import identity_of

PULSE_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


class _Look(threading.Thread):
    """One question to the mount."""

    def __init__(self, mount: Path) -> None:
        super().__init__(name="mount-look", daemon=True)
        self._mount = mount
        self.over = threading.Event()
        self.identity: str | None = None
        self.error: OSError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.identity = identity_of(self._mount)
        except OSError as error:
            self.error = error
        finally:
            self.over.set()


def look_once(mount: Path, limit: float = ANSWER_SECONDS) -> str | None:
    """What is wrong with the mount; None: it answers."""
    return _problem_of(_Look(mount), mount, None, limit)


def _problem_of(look: _Look, mount: Path, expected: str | None, limit: float) -> str | None:
    if not look.over.wait(limit):
        return f"{mount} does not answer"
    if look.error is not None:
        return f"{mount}: {look.error.strerror}"
    if expected is not None and look.identity != expected:
        return f"{mount} is not the volume that it was at the start: nothing, or something else, is mounted there"
    return None


class MountWatch:
    """`problem` is what the last look found. The volume is the one that is there when the watch is made."""

    def __init__(self, mount: Path, *, heard: Callable[[str | None], None], revive: Callable[[], None] | None) -> None:
        """`heard` is told of each change; `revive` is called when the mount is dead, and may raise OSError.

        Raises OSError for a mount that is dead at the start.
        """
        self._mount = mount
        self._identity = identity_of(mount)
        self._heard = heard
        self._revive = revive
        self._look: _Look | None = None
        self._closing = threading.Event()
        self.problem: str | None = None
        heard(None)
        # Mounts are started by this thread, and end with it: it lives as long as the service.
        self._thread = threading.Thread(target=self._loop, name="mount-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Look no more. Does not wait for a mount that hangs."""
        self._closing.set()
        self._thread.join(ANSWER_SECONDS + PULSE_SECONDS)

    def _loop(self) -> None:
        while not self._closing.wait(PULSE_SECONDS):
            self._say(self._ask())
            if self.problem is not None and self._look is None and self._revive is not None:
                self._try_to_revive(self._revive)

    def _ask(self) -> str | None:
        """One look; one that hangs is waited for again the next time."""
        look = self._look or _Look(self._mount)
        problem = _problem_of(look, self._mount, self._identity, ANSWER_SECONDS)
        self._look = None if look.over.is_set() else look
        return problem

    def _say(self, problem: str | None) -> None:
        if problem == self.problem:
            return
        self.problem = problem
        if problem is None:
            _log.warning("mount.usable")
        else:
            _log.error("mount.unusable", error=problem)
        self._heard(problem)

    def _try_to_revive(self, revive: Callable[[], None]) -> None:
        begun = time.monotonic()
        try:
            revive()
        except OSError as error:
            _log.error("mount.not_remounted", error=str(error))
        else:
            _log.warning("mount.remounted", seconds=round(time.monotonic() - begun, 3))
            self._say(self._ask())

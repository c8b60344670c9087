"""Named places where a test can make the process die, fail or wait.

Unarmed, `hit` is one look into an empty dictionary. Tests arm points in process with `arm`; a process under test is
armed at its start by `configure(WVS_FAILPOINTS)`, for example `create.published=kill` or `create.cloned=pause:/tmp/go`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

ENGINE_POINTS: Final = (
    "engine.guard.taken",
    "engine.claim.running",
    "engine.claim.prepared",
    "engine.claim.committed",
    "engine.executed",
    "engine.apply.begin",
    "engine.apply.effects",
    "engine.apply.moved",
    "engine.apply.audited",
    "engine.apply.committed",
)
EXECUTOR_POINTS: Final = (
    "init.ground",
    "init.built",
    "init.placed.agent.lock",
    "init.placed.agent",
    "init.placed.control.json",
    "init.placed.snapshots",
    "init.placed.live",
    "init.switched",
    "create.staged",
    "create.precopied",
    "create.frozen",
    "create.cloned",
    "create.resumed",
    "create.verified",
    "create.described",
    "create.published",
    "set_current.copied",
    "set_current.cloned",
    "set_current.frozen",
    "set_current.published",
    "set_current.switched",
    "set_current.resumed",
    "drop.moved",
    "drop.deleted",
)
PRECOPY_POINTS: Final = ("create.looked", "create.copied", "create.brought")
"""While an attached agent runs: after the first look, the clone, and what was brought over since."""
UPKEEP_POINTS: Final = ("sweep.thawed", "sweep.moved", "purge.deleted")
LOCK_POINTS: Final = ("fence.held", "fence.released")
"""Right after a workspace's lock was taken, and right before it is let go; they say which workspace."""
POINTS: Final = frozenset(ENGINE_POINTS + EXECUTOR_POINTS + PRECOPY_POINTS + UPKEEP_POINTS + LOCK_POINTS)

_armed: dict[str, Callable[[str], None]] = {}


class FailpointError(Exception):
    """Raised by a point that is armed with `raise`."""


def hit(name: str, about: str = "") -> None:
    """Mark a step; `about` says of what. Does nothing unless the point is armed."""
    if _armed:
        action = _armed.get(name)
        if action is not None:
            action(about)


def arm(name: str, action: Callable[[], None]) -> None:
    """Run `action` whenever the point is hit. Raises ValueError for a name that is not in POINTS."""
    _arm(name, lambda about: action())


def disarm_all() -> None:
    """Forget every armed point."""
    _armed.clear()


def configure(spec: str) -> None:
    """Arm from `name=action[,name=action…]`; actions: kill, raise, pause:FILE (wait until FILE exists), log:FILE.

    `log` adds a line to FILE: monotonic nanoseconds, process, thread, point, and what `hit` was told; several processes
    may write to one file. Raises ValueError for an unknown name or action, OSError for a FILE that cannot be written.
    """
    for part in filter(None, (piece.strip() for piece in spec.split(","))):
        name, _, action = part.partition("=")
        _arm(name, _action(name, action))


def _arm(name: str, action: Callable[[str], None]) -> None:
    if name not in POINTS:
        raise ValueError(f"no failpoint is named {name!r}")
    _armed[name] = action


def _action(name: str, action: str) -> Callable[[str], None]:
    kind, _, argument = action.partition(":")
    if kind == "kill":
        return lambda about: os.kill(os.getpid(), signal.SIGKILL)
    if kind == "raise":

        def fail(about: str) -> None:
            raise FailpointError(name)

        return fail
    if kind == "pause" and argument:

        def pause(about: str) -> None:
            while not Path(argument).exists():
                time.sleep(0.005)

        return pause
    if kind == "log" and argument:
        return _log_to(Path(argument), name)
    raise ValueError(f"failpoint {name}: unknown action {action!r} (kill, raise, pause:FILE, log:FILE)")


def _log_to(file: Path, name: str) -> Callable[[str], None]:
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def log(about: str) -> None:
        # One write, so that lines of several processes never mix.
        os.write(fd, f"{time.monotonic_ns()} {os.getpid()} {threading.get_ident()} {name} {about}\n".encode())

    return log

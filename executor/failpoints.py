"""Named places where a test can make the process die, fail or wait.

Unarmed, `hit` is one look into an empty dictionary. Tests arm points in process with `arm`; a process under test is
armed at its start by `configure(WVS_FAILPOINTS)`, for example `publish.before=kill` or `clone.after=pause:/tmp/go`.
"""

from __future__ import annotations

import os
import signal
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
UPKEEP_POINTS: Final = ("sweep.thawed", "sweep.moved", "purge.deleted")
POINTS: Final = frozenset(ENGINE_POINTS + EXECUTOR_POINTS + UPKEEP_POINTS)

_armed: dict[str, Callable[[], None]] = {}


class FailpointError(Exception):
    """Raised by a point that is armed with `raise`."""


def hit(name: str) -> None:
    """Mark a step. Does nothing unless the point is armed."""
    if _armed:
        action = _armed.get(name)
        if action is not None:
            action()


def arm(name: str, action: Callable[[], None]) -> None:
    """Run `action` whenever the point is hit. Raises ValueError for a name that is not in POINTS."""
    if name not in POINTS:
        raise ValueError(f"no failpoint is named {name!r}")
    _armed[name] = action


def disarm_all() -> None:
    """Forget every armed point."""
    _armed.clear()


def configure(spec: str) -> None:
    """Arm from `name=action[,name=action…]`; actions: kill, raise, pause:FILE (wait until FILE exists).

    Raises ValueError for an unknown name or action.
    """
    for part in filter(None, (piece.strip() for piece in spec.split(","))):
        name, _, action = part.partition("=")
        arm(name, _action(name, action))


def _action(name: str, action: str) -> Callable[[], None]:
    kind, _, argument = action.partition(":")
    if kind == "kill":
        return lambda: os.kill(os.getpid(), signal.SIGKILL)
    if kind == "raise":

        def fail() -> None:
            raise FailpointError(name)

        return fail
    if kind == "pause" and argument:

        def pause() -> None:
            while not Path(argument).exists():
                time.sleep(0.005)

        return pause
    raise ValueError(f"failpoint {name}: unknown action {action!r} (kill, raise, pause:FILE)")

"""What `wvs-agent run` is asked to do, and the cgroup that the asked freezer needs (SPEC §8)."""

from __future__ import annotations

import os
import secrets
import signal
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wvs_agent.cgroup import Cgroup
from wvs_agent.config import FreezerKind


class OnSwitch(StrEnum):
    """What becomes of the command when `current` is switched."""

    RESTART = "restart"
    SIGNAL = "signal"
    REFUSE = "refuse"


class NotUsableError(Exception):
    """This machine cannot do what was asked."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says."""

    workspace: Path
    argv: tuple[str, ...]
    on_switch: OnSwitch = OnSwitch.RESTART
    switch_signal: signal.Signals = signal.SIGHUP
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    freezer: FreezerKind = FreezerKind.AUTO
    attach_timeout: float = 60.0


def make_cgroup(kind: FreezerKind) -> Cgroup | None:
    """A group of its own for the command; None where signals stop it. Raises NotUsableError."""
    if kind is FreezerKind.SIGNALS:
        return None
    made = Cgroup.make(f"wvs-agent-{os.getpid()}-{secrets.token_hex(4)}")
    if made is None and kind is FreezerKind.CGROUP:
        raise NotUsableError("there is no cgroup v2 in which this process may make a group of its own")
    return made

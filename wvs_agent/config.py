"""The environment that wvs-agent reads, and the one that it hands to the command."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Final

FREEZER_VARIABLE: Final = "WVS_AGENT_FREEZER"
RUN_VARIABLE: Final = "WVS_AGENT_RUN"
"""In the environment of everything that a run starts: finds what lost its parents."""


class FreezerKind(StrEnum):
    """How the command is stopped."""

    AUTO = "auto"
    """The cgroup v2 freezer where we may have a group of our own, else signals."""
    CGROUP = "cgroup"
    """The cgroup v2 freezer, or no start at all."""
    SIGNALS = "signals"
    """SIGSTOP to each process."""


def freezer_kind() -> FreezerKind:
    """What WVS_AGENT_FREEZER says. Raises ValueError with its name."""
    value = os.environ.get(FREEZER_VARIABLE, FreezerKind.AUTO)
    try:
        return FreezerKind(value)
    except ValueError:
        choice = ", ".join(FreezerKind)
        raise ValueError(f"{FREEZER_VARIABLE} is {value!r}; it must be one of {choice}") from None


def log_level() -> str:
    """WVS_LOG_LEVEL. Raises ValueError with its name. Not info unless asked: the command speaks there, too."""
    return _one_of("WVS_LOG_LEVEL", "warning", ("debug", "info", "warning", "error"))


def log_format() -> str:
    """WVS_LOG_FORMAT. Raises ValueError with its name."""
    return _one_of("WVS_LOG_FORMAT", "auto", ("auto", "json", "console"))


def _one_of(name: str, default: str, choice: tuple[str, ...]) -> str:
    value = os.environ.get(name, "") or default
    if value not in choice:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choice)}")
    return value


def command_environment(root: Path, mark: str) -> dict[str, str]:
    """Ours, and where the command begins by the name that stays true after a switch."""
    return {**os.environ, "PWD": str(root / "current"), RUN_VARIABLE: mark}


def own_environment() -> dict[str, str]:
    """For the keeper: as we were started."""
    return dict(os.environ)


def mark_of(mark: str) -> bytes:
    """The mark as /proc/<pid>/environ shows it."""
    return os.fsencode(f"{RUN_VARIABLE}={mark}")

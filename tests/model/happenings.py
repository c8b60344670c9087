"""What may happen while the executor is asked: pure values, which the model and the fake executor both follow."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from executor.contract import FaultReason


class Kind(StrEnum):
    """How one call of the executor goes."""

    DONE = "done"
    """Published, or found published; a probe answers."""
    FAULT = "fault"
    """Refused before anything was published; `reason` and `unknown` say how."""
    AWAY = "away"
    """No executor takes it up."""
    CRASH = "crash"
    """An exception that nobody has foreseen."""
    UNHEARD = "unheard"
    """Published, and the answer lost."""
    LOST = "lost"
    """The worker is lost before anything was published."""
    LOST_AFTER = "lost after"
    """The worker is lost with the outcome in its hands."""
    TIMED_OUT = "timed out"
    """Stopped at its deadline."""
    SHUTDOWN = "shutdown"
    """Stopped because the worker has to go."""
    CANCEL = "cancel"
    """Its cancel is asked for and heard."""
    CANCEL_AND_FAULT = "cancel and fault"
    """Its cancel is asked for, and it fails before it has heard of it."""
    CANCEL_AFTER = "cancel after"
    """Its cancel is asked for when it is published."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One call. `reason` and `unknown` belong to the faults."""

    kind: Kind = Kind.DONE
    reason: FaultReason = FaultReason.CLONE_FAILED
    unknown: bool = False

    def __str__(self) -> str:
        return f"{self.kind}" + (f" {self.reason}{' ?' * self.unknown}" if self.kind is Kind.FAULT else "")


DONE = Happening()
OF_A_PROBE = (Kind.DONE, Kind.FAULT, Kind.CRASH, Kind.LOST, Kind.TIMED_OUT, Kind.SHUTDOWN)
"""A probe publishes nothing and hears no cancel."""

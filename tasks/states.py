"""The states of a task and the one transition table (SPEC §6): pure.

Code, tests, the diagram in the docs and the trigger in PostgreSQL all come from TRANSITIONS.
"""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices


class Status(TextChoices):
    """Where a task stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    DEAD = "DEAD"

    @property
    def is_live(self) -> bool:
        """It may still do something: it counts as a reference and holds up what comes after it."""
        return self in LIVE

    @property
    def is_waiting(self) -> bool:
        """Live, and nobody works on it."""
        return self.is_live and self is not Status.RUNNING

    @property
    def is_finished(self) -> bool:
        """Nothing will happen to it any more."""
        return self in FINISHED


LIVE: Final = (Status.PENDING, Status.RUNNING, Status.FAILED)
FINISHED: Final = (Status.SUCCEEDED, Status.CANCELED, Status.DEAD)

TRANSITIONS: Final = (
    (Status.PENDING, Status.RUNNING),
    (Status.PENDING, Status.CANCELED),
    (Status.RUNNING, Status.SUCCEEDED),
    (Status.RUNNING, Status.FAILED),
    (Status.RUNNING, Status.CANCELED),
    (Status.RUNNING, Status.DEAD),
    (Status.FAILED, Status.RUNNING),
    (Status.FAILED, Status.CANCELED),
)


def may_move(old: Status, new: Status) -> bool:
    """Whether the table has this edge."""
    return (old, new) in TRANSITIONS

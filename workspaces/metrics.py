"""What this app counts (SPEC §11, docs/metrics.md)."""

from __future__ import annotations

from typing import Final

from django.db import transaction
from prometheus_client import Counter

from workspaces.states import TRANSITIONS

STATES: Final = Counter("wvs_workspace_state_transitions_total", "Transitions of workspaces.", ["from", "to"])
for _old, _new in TRANSITIONS:
    STATES.labels(_old.value, _new.value)


def moved_on_commit(old: str, new: str) -> None:
    """A workspace went from one state to the other."""
    transaction.on_commit(STATES.labels(old, new).inc)

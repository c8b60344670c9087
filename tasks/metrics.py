"""What the engine counts (SPEC §11), where it happens and once it is committed."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

from tasks.states import FINISHED

TASKS: Final = Counter("wvs_task_total", "Tasks that ended, by how.", ["op", "status"])


def initialise(ops: list[str]) -> None:
    """Every series is there from the start: 0 is a value, a missing one is a question."""
    for op in ops:
        for status in FINISHED:
            TASKS.labels(op=op, status=status.value)

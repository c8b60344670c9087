"""What a crashed stack left behind is cleared before the next start: its processes and its dead mounts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wvs_project.stack.juicefs import is_mounted, unmount_lazily
from wvs_project.stack.orphans import describe, kill_all, marked_processes, postgres_processes


def clear_leftovers(mark: str, *, postgres_data: Path, mounts: Sequence[Path]) -> list[str]:
    """Kill what is left of the stack `mark` and detach its mounts. Returns what was found, in words.

    Call only with the stack's lock held, so that a living stack is never taken for a dead one.
    Raises StackError when a mount stays.
    """
    found = [*marked_processes(mark), *postgres_processes(postgres_data)]
    said = [describe(process) for process in found]
    kill_all(found)
    for mount in mounts:
        while is_mounted(mount):  # a second one may lie below the first
            said.append(f"mount {mount}")
            unmount_lazily(mount)
    return said

"""Who held which workspace's lock when (I9): read from what the processes wrote down at the lock's failpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NANOSECONDS: Final = 1e9
_TAIL_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class Held:
    """One hold: monotonic seconds, certainly within the time for which the lock was really held."""

    wsid: str
    pid: int
    begin: float
    end: float


def read_holds(log: Path, killed: Mapping[int, float]) -> list[Held]:
    """Every hold in the log. `killed` says when a process was killed (monotonic seconds, before the signal).

    A hold that a dead process left open ends there; where nobody knows when it died, with the last that it wrote.
    """
    if not log.exists():
        return []
    return list(_holds(log.read_text().splitlines(), killed))


def holding_now(log: Path) -> set[int]:
    """The processes that hold a lock now, as far as the end of the log tells; the dead ones among them too."""
    if not log.exists():
        return set()
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode().splitlines()[1:]
    open_holds: set[tuple[str, ...]] = set()
    for line in lines:
        _, pid, thread, point, wsid = line.split()
        (open_holds.add if point == "fence.held" else open_holds.discard)((pid, thread, wsid))
    return {int(pid) for pid, _, _ in open_holds}


def _holds(lines: Iterable[str], killed: Mapping[int, float]) -> Iterable[Held]:
    open_since: dict[tuple[str, str, str], float] = {}
    last_of: dict[str, float] = {}
    for line in lines:
        nanoseconds, pid, thread, point, wsid = line.split()
        at = int(nanoseconds) / _NANOSECONDS
        last_of[pid] = max(at, last_of.get(pid, 0.0))
        if point == "fence.held":
            open_since[pid, thread, wsid] = at
        else:
            yield Held(wsid, int(pid), open_since.pop((pid, thread, wsid)), at)
    for (pid, _, wsid), begin in open_since.items():
        yield Held(wsid, int(pid), begin, max(begin, killed.get(int(pid), last_of[pid])))


def overlaps(holds: Iterable[Held]) -> list[tuple[Held, Held]]:
    """Pairs of holds of one workspace that were held at the same time: none, if I9 holds."""
    by_workspace: dict[str, list[Held]] = defaultdict(list)
    for hold in sorted(holds, key=lambda hold: (hold.begin, hold.end)):
        by_workspace[hold.wsid].append(hold)
    found = []
    for row in by_workspace.values():
        furthest = row[0]
        for hold in row[1:]:
            if hold.begin < furthest.end:
                found.append((furthest, hold))
            furthest = max(furthest, hold, key=lambda one: one.end)
    return found

"""The agents of a run, as the harness sees them: started, killed, and asked whether they write."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos import journal
from tests.chaos.fleet import Fleet
from tests.chaos.keeper import Unit
from wvs_project.stack.waiting import wait_until

PREFIX: Final = "agent-"


@dataclass(frozen=True, slots=True)
class Status:
    """What an agent's process says of itself. `longest` is its longest standstill in seconds."""

    pid: int
    written: int
    freezes: int
    longest: float
    failed: int


class Agents:
    """One agent for each of these workspaces, kept alive like everything else."""

    def __init__(self, fleet: Fleet, wsids: list[str]) -> None:
        self._fleet = fleet
        self.wsids = wsids
        self.seen: dict[tuple[str, int], Status] = {}
        """The last that was heard of every life of every agent."""
        for wsid in wsids:
            argv = [sys.executable, "-m", "tests.chaos.agent", str(fleet.base.ws / wsid), str(self._file(wsid))]
            environment = {"PATH": os.defpath, "PYTHONUNBUFFERED": "1"}
            fleet.keeper.add(Unit(PREFIX + wsid, argv, environment, fleet.dir / f"{PREFIX}{wsid}.log"))

    def _file(self, wsid: str) -> Path:
        return self._fleet.dir / f"{PREFIX}{wsid}.json"

    def status(self, wsid: str) -> Status | None:
        """What it said last; None before its first word."""
        try:
            status = Status(**json.loads(self._file(wsid).read_text()))
        except FileNotFoundError:
            return None
        self.seen[wsid, status.pid] = status
        return status

    def look(self) -> None:
        """Remember what they say now."""
        for wsid in self.wsids:
            self.status(wsid)

    def wait_all_write(self, limit: float) -> None:
        """Until each has written again since now. Raises StackError naming one that stands still."""
        before = {wsid: self.status(wsid) for wsid in self.wsids}
        for wsid, old in before.items():
            wait_until(lambda wsid=wsid, old=old: self._has_moved(wsid, old), limit=limit, what=f"{wsid} writes")  # type: ignore[misc]

    def _has_moved(self, wsid: str, old: Status | None) -> bool:
        new = self.status(wsid)
        if new is None:
            return False
        return new.written > (old.written if old is not None and old.pid == new.pid else 0)

    @property
    def longest_standstill(self) -> float:
        """Of all that was seen, in seconds."""
        return max((status.longest for status in self.seen.values()), default=0.0)

    def broken_trees(self, *, disk_was_lost: bool) -> list[str]:
        """What is wrong with the journals in all trees, live and snapshots.

        An agent that was killed may leave a line half-written or not counted; a mount that was killed may lose what was
        not flushed, but never from the middle.
        """
        found = []
        for wsid in self.wsids:
            root = self._fleet.base.ws / wsid
            for tree in [*root.glob("snapshots/*/tree"), *root.glob("live/*")]:
                try:
                    lines = journal.read(tree).lines
                    count = journal.read_count(tree)
                except journal.BrokenJournalError as error:
                    found.append(str(error))
                    continue
                if not disk_was_lost and not count <= lines <= count + 1 and tree.parent.name != "live":
                    found.append(f"{tree}: {lines} lines, {count} counted")
        return found

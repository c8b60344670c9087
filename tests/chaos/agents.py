"""The agents of a run, as the harness sees them: started, killed, and asked whether they write."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos import journal
from tests.chaos.fleet import Fleet
from tests.chaos.keeper import Death, Unit
from wvs_project.stack.waiting import wait_until

PREFIX: Final = "agent-"
_RUNS: Final = """
SELECT wsid, task_id, op, snapshot_id, extract(epoch FROM started_at)::float8, extract(epoch FROM ended_at)::float8,
       (result -> 'agent' ->> 'attached')::bool
FROM wvs.tasks
WHERE status = 'SUCCEEDED' AND wsid = ANY(%s) AND result -> 'agent' ->> 'attached' IS NOT NULL"""


@dataclass(frozen=True, slots=True)
class Status:
    """What an agent's process says of itself. `longest` is its longest standstill in seconds, `attached_at` is on the
    wall clock, `failed` counts writes that its disk refused.
    """

    pid: int
    written: int
    freezes: int
    longest: float
    failed: int
    attached_at: float


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

    def broken_trees(self) -> list[str]:
        """What is wrong with the journals in all trees, live and snapshots. Where an agent was killed a line may be cut
        off at the end; nothing may be missing in the middle, whoever was killed.
        """
        found = []
        for wsid in self.wsids:
            root = self._fleet.base.ws / wsid
            for tree in [*root.glob("snapshots/*/tree"), *root.glob("live/*")]:
                try:
                    journal.read(tree)
                except journal.BrokenJournalError as error:
                    found.append(str(error))
        return found

    def passed_by(self, deaths: Sequence[Death]) -> list[str]:
        """Runs that succeeded while an agent was attached from before to after: it must have been asked to stand still,
        and what was snapshotted must be of one moment.
        """
        died = {death.pid: death.wall for death in deaths}
        found = []
        for wsid, task_id, op, snapshot_id, begun, ended, asked in self._fleet.query(_RUNS, self.wsids):
            for (name, pid), life in self.seen.items():
                there = name == wsid and life.attached_at < begun and ended < died.get(pid, ended + 1)
                if not there or not life.attached_at:
                    continue
                if not asked:
                    found.append(f"{op} {task_id} was done and the agent of {wsid} (pid {pid}) was not asked")
                elif op == "snapshot_create" and not life.failed:
                    found += self._torn(wsid, snapshot_id)
        return found

    def _torn(self, wsid: str, snapshot_id: str) -> list[str]:
        tree = self._fleet.base.ws / wsid / "snapshots" / snapshot_id / "tree"
        if not tree.is_dir():  # dropped since
            return []
        try:
            read, cells = journal.read(tree), journal.read_cells(tree)
        except journal.BrokenJournalError:  # broken_trees() says so
            return []
        return [] if cells == {read.lines} and not read.torn else [f"{tree}: {read}, and its cells say {cells}"]

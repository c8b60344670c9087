"""The second half of the port (SPEC §7): what the sweeper and `wvs_index` ask of the data plane.

Values and one protocol, as in `contract`. Nothing here is a task: no attempt, no retry, no progress. What is deleted is
moved into staging first, under the workspace's lock and a fence higher than every attempt's before, and deleted after
that, under no lock at all: a workspace waits for a few renames, however large its leftovers are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from executor.contract import StopSignal


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """What a complete snapshot's own descriptor says (SPEC §2)."""

    task_id: str
    fence: int
    created_at: str
    """RFC 3339, UTC."""
    message: str
    entries: int
    bytes: int
    source_live_id: str
    manifest_digest: str
    clone_driver: str


@dataclass(frozen=True, slots=True)
class SnapshotOnDisk:
    """Something below `snapshots/`, by its name, whatever it is."""

    name: str
    facts: SnapshotFacts | None = None
    """None: not read, or (when descriptors were asked for) not a complete snapshot of this workspace and name (G10)."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What lies on disk of one workspace. Names are sorted, and are what was found: not all need be ids of ours."""

    wsid: str
    fence: int
    """The highest fencing token seen."""
    current: str | None
    """What the symlink holds; None if it is missing or, as `strange` then says, no symlink."""
    live: tuple[str, ...]
    snapshots: tuple[SnapshotOnDisk, ...]
    staging: tuple[str, ...]
    freeze_asked: bool
    """control.json says REQUEST_FREEZE: a freeze is going on or, where nobody works, its executor is dead."""
    strange: tuple[str, ...] = ()
    """What lies in the workspace's directory and is none of ours, and those of our own places (`live`, `.wvs/fence`, …)
    in which lies something of another kind than must be there: it was planted, and was not looked into."""


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What is to go. The caller holds RUN(wsid) and has drawn `fence` from the sequence under it."""

    wsid: str
    fence: int
    live: tuple[str, ...] = ()
    """Names below `live/`. The target of `current` is never taken, whatever is asked but `everything`."""
    snapshots: tuple[str, ...] = ()
    """Names below `snapshots/`."""
    thaw: bool = False
    """Take back a REQUEST_FREEZE that a dead executor left."""
    everything: bool = False
    """The workspace's trees, snapshots and `current`: it is left as before its first init, its fence kept."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What was moved to staging, to be purged."""

    moved: tuple[str, ...] = ()
    """`live/<name>`, `snapshots/<name>`, `current`."""
    kept: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What was asked for and not moved, with the reason, by the same names. What was gone already is in neither."""
    thawed: bool = False


@dataclass(frozen=True, slots=True)
class Purged:
    """What was deleted from staging, whoever did it. Staging of higher fences is in neither."""

    deleted: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What could not be deleted, with the reason."""


@dataclass(frozen=True, slots=True)
class AgentSeen:
    """Who seems to be attached. What agent.json says may be of an agent that is gone: empty where there is none."""

    attached: bool
    """Whether somebody holds the agent lock: an agent, what it left, or an executor at work with nobody there."""
    agent_id: str = ""
    state: str = ""
    current: str = ""
    old_handles: tuple[str, ...] = ()
    updated_at: str = ""


class DetachOutcome(StrEnum):
    """What became of the wish to take an agent's lock away."""

    NOBODY = "nobody"
    """The lock was free."""
    ANSWERS = "answers"
    """The agent answers: it keeps its lock."""
    DETACHED = "detached"
    """Nobody answered: the lock is free now."""


@dataclass(frozen=True, slots=True)
class Detached:
    """`agent_id` as agent.json said it; empty if it said nothing."""

    outcome: DetachOutcome
    agent_id: str


class Upkeep(Protocol):
    """The execution plane as the sweeper sees it. Every call is idempotent.

    All raise ExecutorFault (UNAVAILABLE: the volume does not answer; UNSAFE_PATH: an id or a thing on disk is not what
    it must be), and those with `stop` raise Stopped when it was obeyed.
    """

    def workspaces(self) -> list[str]:
        """The wsids of the volume, sorted: every directory that has a workspace's `.wvs`."""
        ...

    def inventory(self, wsid: str, *, descriptors: bool) -> Inventory | None:
        """What lies there; None if there is no workspace of that name. Takes no lock: it is true of one moment only.

        `descriptors` reads every snapshot's descriptor too.
        """
        ...

    def last_written(self, wsid: str, live_id: str, *, stop: StopSignal) -> datetime:
        """When anything in that live tree was changed last (status change times, which no program can set). UTC.

        Costs a scan of the tree.
        """
        ...

    def sweep(self, request: SweepRequest, *, stop: StopSignal) -> Swept:
        """Move what is to go into staging, by renames, under `.wvs/lock` and with the fence raised.

        Raises ExecutorFault(FENCED) if an attempt with a higher fence has come.
        """
        ...

    def purge(self, wsid: str, *, fence: int, stop: StopSignal) -> Purged:
        """Delete all staging of fences up to and including `fence`, past the trash. Takes no lock.

        The caller knows that `fence` was raised by `sweep` or that nothing with such a fence can publish any more.
        """
        ...

    def agent(self, wsid: str) -> AgentSeen | None:
        """Who is attached as the agent; None if there is no workspace of that name. True of one moment only."""
        ...

    def detach(self, wsid: str, *, fence: int, stop: StopSignal) -> Detached:
        """Take the agent lock from a holder that does not answer a freeze within the quiesce time-out (SPEC §8).

        Under `.wvs/lock` and with the fence raised, as `sweep`. An agent that answers keeps it and goes on. One that
        was only slow finds its lock gone, and attaches again.
        """
        ...

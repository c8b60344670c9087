"""The port between the task engine and the data plane (SPEC §1, §7).

Everything that crosses from the control plane to the execution plane is a value of this module: identifiers,
the request, its outcome, its faults, and the signal that stops it. It knows no Django, no disk and no network.
"""

from __future__ import annotations

import os
import re
import select
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol

_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
WSID_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"
TASK_ID_PATTERN: Final = rf"^task-{_UUID}$"
SNAPSHOT_ID_PATTERN: Final = rf"^snap-{_UUID}$"
LIVE_ID_PATTERN: Final = rf"^(initial|live-{_UUID})$"
INITIAL_LIVE_ID: Final = "initial"


def matches(pattern: str, value: str) -> bool:
    """Whether the whole of `value` is what `pattern` says; a trailing newline is never forgiven."""
    return re.fullmatch(pattern, value) is not None


def live_id_for(task_id: str) -> str:
    """The live tree that a set_current task makes: derived, so that a retry finds its own directory (SPEC §2)."""
    if not matches(TASK_ID_PATTERN, task_id):
        raise ValueError(f"not a task id: {task_id!r}")
    return "live-" + task_id.removeprefix("task-")


class OperationName(StrEnum):
    """What a task can ask of the executor."""

    INIT_WORKSPACE = "init_workspace"
    SNAPSHOT_CREATE = "snapshot_create"
    SNAPSHOT_DROP = "snapshot_drop"
    SET_CURRENT = "set_current"


@dataclass(frozen=True, slots=True)
class ExecuteTask:
    """One attempt of one task. `fence` rises with every attempt in the whole system (SPEC §6)."""

    task_id: str
    wsid: str
    op: OperationName
    fence: int
    timeout_seconds: float
    snapshot_id: str | None = None
    """snapshot_create: the id to make; snapshot_drop, set_current: the one meant."""
    source_live_id: str | None = None
    """snapshot_create: the live tree that the workspace row names; `current` must agree, else DRIFT."""
    message: str = ""
    request_id: str = ""
    traceparent: str = ""
    """The trace that the task was asked for in, for a call that brings none along."""
    attempt: int = 0
    """The how manieth it is, for the log."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. `total` is None while it is unknown."""

    phase: str
    """`quiesce`: the agent is asked to stand still; `freeze`: it does, and nothing finer is told; `resume`: it was told
    to go on, and its answer is waited for; else what is done to the trees, for example clone, scan, verify, switch."""
    entries_done: int = 0
    entries_total: int | None = None
    frozen: bool = False
    """The agent stands still meanwhile, whatever the phase."""


ProgressSink = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What the freeze saw of the agent (SPEC §8). Times are seconds."""

    attached: bool
    """False: nobody held the agent lock, and the executor held it meanwhile."""
    agent_id: str | None = None
    wait_seconds: float = 0.0
    """From REQUEST_FREEZE to the ack."""
    freeze_seconds: float = 0.0
    """The agent's standstill: from its ack to REQUEST_RESUME written."""
    resumed: bool | None = None
    """None: not asked; False: no answer, or a stale one, within the time that resume may take."""
    current_seen: str | None = None
    """What the agent's own readlink(current) said after the resume."""
    old_handles: tuple[str, ...] = ()
    """Working directories and files of the agent that are still open in the old tree."""

    def as_json(self) -> dict[str, object]:
        """For `tasks.result`."""
        return {
            "attached": self.attached,
            "agent_id": self.agent_id,
            "wait_seconds": round(self.wait_seconds, 6),
            "freeze_seconds": round(self.freeze_seconds, 6),
            "resumed": self.resumed,
            "current_seen": self.current_seen,
            "old_handles": list(self.old_handles),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an operation left on disk: the same for the run that did it and for a repeat that found it done."""

    live_id: str | None = None
    """init_workspace, set_current: the tree that `current` points at now."""
    entries: int | None = None
    """snapshot_create: entries of the tree, its root not counted."""
    bytes: int | None = None
    """snapshot_create: sum of the sizes of its regular files."""
    manifest_digest: str | None = None
    clone_driver: str | None = None
    switched_at: str | None = None
    """set_current: when `current` was switched; RFC 3339, UTC, by the clock of the executor's mount. What is written to
    the old tree later than this was written after the switch, by somebody who still holds the old tree (SPEC §9)."""
    already_done: bool = False
    agent: AgentReport | None = None
    timings: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Seconds by phase, for example clone, verify, freeze, switch."""
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """For `tasks.result`: only what is known."""
        known: dict[str, object] = {
            name: value
            for name in ("live_id", "entries", "bytes", "manifest_digest", "clone_driver", "switched_at")
            if (value := getattr(self, name)) is not None
        }
        if self.already_done:
            known["already_done"] = True
        if self.agent is not None:
            known["agent"] = self.agent.as_json()
        if self.timings:
            known["timings"] = {name: round(seconds, 6) for name, seconds in self.timings.items()}
        if self.warnings:
            known["warnings"] = list(self.warnings)
        return known


class FaultReason(StrEnum):
    """The finer cause of a failed attempt: `error.reason` of a task (SPEC §4)."""

    QUIESCE_TIMEOUT = "QUIESCE_TIMEOUT"
    QUIESCE_VIOLATED = "QUIESCE_VIOLATED"
    QUIESCE_EXPIRED = "QUIESCE_EXPIRED"
    CLONE_FAILED = "CLONE_FAILED"
    FENCED = "FENCED"
    WORKER_LOST = "WORKER_LOST"
    TIMED_OUT = "TIMED_OUT"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"
    SNAPSHOT_IN_USE = "SNAPSHOT_IN_USE"
    SNAPSHOT_MISSING = "SNAPSHOT_MISSING"
    DRIFT = "DRIFT"
    UNSAFE_PATH = "UNSAFE_PATH"
    NO_SPACE = "NO_SPACE"


PERMANENT: Final = frozenset(
    {
        FaultReason.SNAPSHOT_IN_USE,
        FaultReason.SNAPSHOT_MISSING,
        FaultReason.DRIFT,
        FaultReason.UNSAFE_PATH,
        FaultReason.NO_SPACE,
    }
)
"""Retrying these cannot help: the task ends DEAD at once."""


class ExecutorFault(Exception):
    """An attempt failed. Unless `outcome_unknown`, nothing was published by it and the agent was told to go on.

    Not `begun`: no executor took it up, so that it was no attempt (SPEC §6).
    """

    def __init__(self, reason: FaultReason, message: str, *, outcome_unknown: bool = False, begun: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.outcome_unknown = outcome_unknown
        self.begun = begun

    @property
    def permanent(self) -> bool:
        """Whether a retry is pointless."""
        return self.reason in PERMANENT


class StopReason(StrEnum):
    """Why the engine stops a run."""

    CANCELED = "CANCELED"
    TIMED_OUT = "TIMED_OUT"
    GUARD_LOST = "GUARD_LOST"
    SHUTDOWN = "SHUTDOWN"


class Stopped(Exception):
    """The run obeyed a StopSignal before it published anything."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(f"stopped: {reason}")
        self.reason = reason


class StopSignal:
    """A one-shot, thread-safe request to stop; the first reason given stands.

    It has a file descriptor that becomes readable, so a run can select() on it beside its child process.
    A run obeys until it begins to publish; from then on what it publishes wins.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._reason: StopReason | None = None
        self._closed = False

    @property
    def reason(self) -> StopReason | None:
        """None until stop() was called."""
        return self._reason

    def stop(self, reason: StopReason) -> None:
        """Ask the run to stop. Later calls change nothing."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
                if not self._closed:
                    os.eventfd_write(self._fd, 1)

    def fileno(self) -> int:
        """Readable once stop() was called."""
        return self._fd

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the stop; True if it came."""
        if self._reason is None and timeout > 0:
            # poll, not select: a worker may hold more than 1024 descriptors.
            poller = select.poll()
            poller.register(self._fd, select.POLLIN)
            poller.poll(timeout * 1000)
        return self._reason is not None

    def check(self) -> None:
        """Raise Stopped if the stop was asked for."""
        if self._reason is not None:
            raise Stopped(self._reason)

    def close(self) -> None:
        """Give the descriptor back; the owner calls it when the run is over."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._fd)


class Executor(Protocol):
    """The execution plane as the task engine sees it; every call is idempotent (SPEC §7).

    Both raise ExecutorFault, or Stopped when `stop` was obeyed before anything was published.
    """

    def execute(self, request: ExecuteTask, *, stop: StopSignal, progress: ProgressSink) -> Outcome:
        """Do what the task asks, or find it done. Blocks for as long as it takes."""
        ...

    def probe(self, request: ExecuteTask, *, stop: StopSignal) -> Outcome | None:
        """Whether an earlier attempt of this task was published: its outcome, or None.

        Raises the workspace's fence to `request.fence` first, so after None no older attempt can publish any more.
        """
        ...

    def close(self) -> None:
        """Release what the executor holds."""
        ...

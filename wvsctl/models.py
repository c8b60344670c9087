"""What the API answers, typed. Fields have the API's names; what a newer API adds is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

FINISHED: Final = ("SUCCEEDED", "CANCELED", "DEAD")
"""No task leaves these."""

T = TypeVar("T")
Raw = Mapping[str, Any]


def _taken(cls: type[Any], raw: Raw) -> dict[str, Any]:
    return {field.name: raw[field.name] for field in dataclasses.fields(cls) if field.name in raw}


@dataclass(frozen=True, slots=True)
class Workspace:
    """One agent's working directory. state: PROVISIONING, ACTIVE, INIT_FAILED, DISABLED."""

    wsid: str
    owner: str
    state: str
    root_path: str
    current_path: str | None
    current_snapshot_id: str | None
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, raw: Raw) -> Workspace:
        """From JSON."""
        return cls(**_taken(cls, raw))


@dataclass(frozen=True, slots=True)
class Provisioning:
    """A workspace that was asked for, and the task that makes it."""

    wsid: str
    state: str
    init_task_id: str
    replayed: bool

    @classmethod
    def of(cls, raw: Raw, *, replayed: bool) -> Provisioning:
        """From JSON and the header Idempotent-Replayed."""
        return cls(raw["wsid"], raw["state"], raw["init_task_id"], replayed)


@dataclass(frozen=True, slots=True)
class Disabled:
    """A workspace after its soft delete."""

    wsid: str
    state: str
    updated_at: str

    @classmethod
    def of(cls, raw: Raw) -> Disabled:
        """From JSON."""
        return cls(**_taken(cls, raw))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A read-only copy of a workspace's tree. `entries` without its root, `bytes` of its regular files."""

    snapshot_id: str
    wsid: str
    message: str
    fs_path: str
    entries: int
    bytes: int
    is_current: bool
    created_at: str

    @classmethod
    def of(cls, raw: Raw) -> Snapshot:
        """From JSON."""
        return cls(**_taken(cls, raw))


@dataclass(frozen=True, slots=True)
class Current:
    """What a workspace's `current` points at."""

    wsid: str
    current_path: str | None
    current_snapshot_id: str | None
    updated_at: str

    @classmethod
    def of(cls, raw: Raw) -> Current:
        """From JSON."""
        return cls(**_taken(cls, raw))


@dataclass(frozen=True, slots=True)
class Accepted:
    """A write that was accepted: its task, and the id of the snapshot that it makes, if it makes one."""

    task_id: str
    status: str
    snapshot_id: str | None
    replayed: bool

    @classmethod
    def of(cls, raw: Raw, *, replayed: bool) -> Accepted:
        """From JSON and the header Idempotent-Replayed."""
        return cls(raw["task_id"], raw["status"], raw.get("snapshot_id"), replayed)


@dataclass(frozen=True, slots=True)
class Canceled:
    """A task after a cancel. `cancel_requested` with a status that is not CANCELED: a worker decides within 2 s."""

    task_id: str
    status: str
    cancel_requested: bool

    @classmethod
    def of(cls, raw: Raw) -> Canceled:
        """From JSON."""
        return cls(**_taken(cls, raw))


@dataclass(frozen=True, slots=True)
class Task:
    """One accepted write. status: PENDING, RUNNING, FAILED (waits for its retry), SUCCEEDED, CANCELED, DEAD."""

    task_id: str
    wsid: str
    op: str
    status: str
    snapshot_id: str | None
    attempt: int
    max_attempts: int
    outcome_unknown: bool
    cancel_requested: bool
    created_at: str
    started_at: str | None
    ended_at: str | None
    next_run_at: str
    timeout_seconds: int
    params: dict[str, Any]
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    request_id: str
    actor: dict[str, str]

    @classmethod
    def of(cls, raw: Raw) -> Task:
        """From JSON."""
        return cls(**_taken(cls, raw))

    @property
    def is_finished(self) -> bool:
        """Whether it stays as it is."""
        return self.status in FINISHED


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what, when. `payload` has before, after and error."""

    event_id: int
    ts: str
    wsid: str
    actor: dict[str, str]
    action: str
    request_id: str
    task_id: str | None
    payload: dict[str, Any]

    @classmethod
    def of(cls, raw: Raw) -> AuditEvent:
        """From JSON."""
        return cls(**_taken(cls, raw))


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, newest first. `next_cursor` is None on the last one."""

    items: list[T]
    next_cursor: str | None

    @classmethod
    def of(cls, raw: Raw, item: Callable[[Raw], T]) -> Page[T]:
        """From JSON; `item` makes one."""
        return cls([item(one) for one in raw["items"]], raw["next_cursor"])

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)


@dataclass(frozen=True, slots=True)
class ApiVersion:
    """Which API answers, what its clock says (the Date header, whole seconds), and how long the answer took."""

    title: str
    version: str
    date: datetime | None
    seconds: float

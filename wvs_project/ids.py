"""Identifiers (SPEC §3): time-ordered text. The patterns are part of the contract between the planes."""

from __future__ import annotations

from uuid_utils import uuid7

from executor.contract import SNAPSHOT_ID_PATTERN, TASK_ID_PATTERN, WSID_PATTERN, matches

REQUEST_ID_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"

__all__ = [
    "REQUEST_ID_PATTERN",
    "SNAPSHOT_ID_PATTERN",
    "TASK_ID_PATTERN",
    "WSID_PATTERN",
    "matches",
    "new_request_id",
    "new_snapshot_id",
    "new_task_id",
]


def new_task_id() -> str:
    """A fresh `task-<uuid7>`."""
    return f"task-{uuid7()}"


def new_snapshot_id() -> str:
    """A fresh `snap-<uuid7>`."""
    return f"snap-{uuid7()}"


def new_request_id() -> str:
    """A fresh `req-<uuid7>`."""
    return f"req-{uuid7()}"

"""The errors of WVS: a code, its HTTP status, and one exception that carries them (SPEC §4).

A leaf: it knows neither Django nor HTTP. Below `api/` raise `WvsError`; one exception handler speaks HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum


class ErrorCode(Enum):
    """Code and HTTP status."""

    BAD_REQUEST = ("WVS_BAD_REQUEST", 400)
    UNAUTHORIZED = ("WVS_UNAUTHORIZED", 401)
    FORBIDDEN = ("WVS_FORBIDDEN", 403)
    NOT_FOUND = ("WVS_NOT_FOUND", 404)
    CONFLICT_LOCKED = ("WVS_CONFLICT_LOCKED", 409)
    CONFLICT_IDEMPOTENT_MISMATCH = ("WVS_CONFLICT_IDEMPOTENT_MISMATCH", 409)
    CONFLICT_EXISTS = ("WVS_CONFLICT_EXISTS", 409)
    CONFLICT_SNAPSHOT_IN_USE = ("WVS_CONFLICT_SNAPSHOT_IN_USE", 409)
    GONE = ("WVS_GONE", 410)
    PRECONDITION_FAILED = ("WVS_PRECONDITION_FAILED", 412)
    INTERNAL = ("WVS_INTERNAL", 500)
    EXECUTOR_ERROR = ("WVS_EXECUTOR_ERROR", 502)
    EXECUTOR_TIMEOUT = ("WVS_EXECUTOR_TIMEOUT", 504)

    def __init__(self, code: str, status: int) -> None:
        self.code = code
        self.status = status


Blocker = Mapping[str, object]
"""One thing that stands in the way, for example {"task_id": …, "op": …, "status": …} or {"state": "DISABLED"}."""


class WvsError(Exception):
    """A refusal or failure with its code.

    `blockers` says what stands in the way (every 409, 410 and 412 has them); `retry_after` is in whole seconds and
    given only where what blocks will pass by itself.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        blockers: Sequence[Blocker] = (),
        details: Mapping[str, object] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.details: dict[str, object] = dict(details or {})
        if blockers:
            self.details["blockers"] = [dict(blocker) for blocker in blockers]

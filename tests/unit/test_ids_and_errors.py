"""Identifiers (SPEC §3) and errors (SPEC §4)."""

from __future__ import annotations

import pytest

from wvs_project.errors import ErrorCode, WvsError
from wvs_project.ids import (
    REQUEST_ID_PATTERN,
    SNAPSHOT_ID_PATTERN,
    TASK_ID_PATTERN,
    matches,
    new_request_id,
    new_snapshot_id,
    new_task_id,
)

pytestmark = pytest.mark.rule("SPEC §3")


@pytest.mark.parametrize(
    ("make", "pattern", "prefix"),
    [
        (new_task_id, TASK_ID_PATTERN, "task-"),
        (new_snapshot_id, SNAPSHOT_ID_PATTERN, "snap-"),
        (new_request_id, REQUEST_ID_PATTERN, "req-"),
    ],
)
def test_ids_are_time_ordered_text(make: object, pattern: str, prefix: str) -> None:
    assert callable(make)
    made = [make() for _ in range(100)]
    assert made == sorted(made)
    assert all(matches(pattern, each) and each.startswith(prefix) and each[len(prefix) + 14] == "7" for each in made)


@pytest.mark.rule("SPEC §4")
def test_every_code_has_the_status_of_the_table() -> None:
    assert {code.code.removeprefix("WVS_"): code.status for code in ErrorCode} == {
        "BAD_REQUEST": 400,
        "UNAUTHORIZED": 401,
        "FORBIDDEN": 403,
        "NOT_FOUND": 404,
        "CONFLICT_LOCKED": 409,
        "CONFLICT_IDEMPOTENT_MISMATCH": 409,
        "CONFLICT_EXISTS": 409,
        "CONFLICT_SNAPSHOT_IN_USE": 409,
        "GONE": 410,
        "PRECONDITION_FAILED": 412,
        "INTERNAL": 500,
        "EXECUTOR_ERROR": 502,
        "EXECUTOR_TIMEOUT": 504,
    }


def test_an_error_carries_its_blockers_in_its_details() -> None:
    error = WvsError(ErrorCode.GONE, "why", blockers=[{"state": "DISABLED"}], details={"more": 1}, retry_after=2)
    assert error.details == {"more": 1, "blockers": [{"state": "DISABLED"}]}
    assert (error.code, error.message, error.retry_after, str(error)) == (ErrorCode.GONE, "why", 2, "why")
    assert WvsError(ErrorCode.NOT_FOUND, "no").details == {}

"""Where HTTP meets the engine: the idempotency token, who acts, and the one 202 answer (SPEC §4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from rest_framework.response import Response

from tasks.audit import ANONYMOUS, Actor
from tasks.idempotency import KEY_PATTERN, IdempotencyToken, request_hash
from tasks.services import Accepted
from wvs_project.errors import ErrorCode, WvsError
from wvs_project.http.views import Call
from wvs_project.ids import matches

log = structlog.get_logger(__name__)


def token_of(call: Call) -> IdempotencyToken:
    """What makes this write repeatable. Raises BAD_REQUEST without a usable Idempotency-Key."""
    key = call.request.headers.get("Idempotency-Key", "")
    if not matches(KEY_PATTERN, key):
        why = (
            "is not 1 to 255 visible ASCII characters" if key else "is missing: every write that makes a task needs it"
        )
        raise WvsError(
            ErrorCode.BAD_REQUEST, f"the Idempotency-Key {why}", details={"fields": {"Idempotency-Key": [why]}}
        )
    hashed = request_hash(method=str(call.request.method), path=call.request.path, body=call.raw_body)
    return IdempotencyToken(key=key, request_hash=hashed, request_id=call.request_id, traceparent=call.traceparent)


def actor_of(call: Call) -> Actor:
    """Who calls: nobody we know while authentication is off."""
    return ANONYMOUS


def accepted(write: Accepted, body: Mapping[str, Any]) -> Response:
    """202 with the task's Location, and Idempotent-Replayed where an earlier request made it."""
    headers = {"Location": f"/v1/tasks/{write.task.task_id}"}
    if write.replayed:
        headers["Idempotent-Replayed"] = "true"
        task = write.task
        log.info(
            "task.replayed", task_id=task.task_id, wsid=task.workspace_id, op=task.op, first_request_id=task.request_id
        )
    return Response(body, status=202, headers=headers)

"""What OpenAPI says of every operation: headers, errors, bodies (SPEC §4). Read by drf-spectacular."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from wvs_project.errors import ErrorCode
from wvs_project.ids import REQUEST_ID_PATTERN

Json = dict[str, Any]

ERROR_COMPONENT: Final[Json] = {
    "type": "object",
    "description": "Every failure, whatever its status.",
    "properties": {
        "code": {"type": "string", "enum": sorted(code.code for code in ErrorCode)},
        "message": {"type": "string", "description": "For people."},
        "request_id": {
            "type": "string",
            "pattern": REQUEST_ID_PATTERN,
            "description": "Also X-Request-Id; look for it in the log.",
        },
        "details": {
            "type": "object",
            "properties": {
                "blockers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"$ref": "#/components/schemas/Blocker"},
                    "description": "What stands in the way; in every 409, 410 and 412.",
                },
                "fields": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                    "description": "What is wrong with which field, parameter or header.",
                },
            },
        },
    },
    "required": ["code", "message", "request_id", "details"],
}
BLOCKER_COMPONENT: Final[Json] = {
    "type": "object",
    "description": "A task (task_id, op, status), the pointer (current_snapshot_id, current_path), a workspace's state "
    "(wsid, state), or a lock.",
    "minProperties": 1,
    "properties": {
        "task_id": {"type": "string"},
        "op": {"type": "string"},
        "status": {"type": "string"},
        "wsid": {"type": "string"},
        "state": {"type": "string"},
        "current_snapshot_id": {"type": "string"},
        "current_path": {"type": "string"},
        "lock": {"type": "string"},
    },
}
_COMPONENTS: Final = {"Error": ERROR_COMPONENT, "Blocker": BLOCKER_COMPONENT}

_WHEN: Final = {
    400: "The request is not valid; `details.fields` may say where.",
    404: "No such thing, or it belongs to another workspace.",
    409: "Refused for now; `details.blockers` says why.",
    410: "The workspace is disabled.",
    412: "The workspace is not in the state that this needs; `details.blockers` says why.",
    413: "The body has more than 64 KiB.",
    415: "The body is not application/json.",
    500: "Our fault; the log has it under request_id.",
}
_HEADER: Final = OpenApiParameter.HEADER
_REQUEST_ID_SCHEMA: Final[Json] = {"type": "string", "pattern": REQUEST_ID_PATTERN}

REQUEST_ID: Final = OpenApiParameter(
    "X-Request-Id", _REQUEST_ID_SCHEMA, _HEADER, description="Taken over if it matches, else one is made."
)
TRACEPARENT: Final = OpenApiParameter("traceparent", str, _HEADER, description="W3C Trace Context, passed on.")
IDEMPOTENCY_KEY: Final = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
    _HEADER,
    required=True,
    description="Makes the write repeatable: the same key with the same request is answered with the same task.",
)


def _answered(name: str, schema: Json, statuses: Iterable[int], description: str, *, always: bool) -> OpenApiParameter:
    on = sorted(statuses)
    return OpenApiParameter(name, schema, _HEADER, required=always, description=description, response=on)


def errors_by_status(refusals: Sequence[ErrorCode], *, reads_body: bool, has_path_ids: bool) -> dict[int, list[str]]:
    """Which codes an operation can answer with, by HTTP status."""
    codes: dict[int, list[str]] = defaultdict(list)
    for refusal in (ErrorCode.BAD_REQUEST, ErrorCode.INTERNAL, *refusals):
        codes[refusal.status].append(refusal.code)
    if has_path_ids:
        codes[404] = [ErrorCode.NOT_FOUND.code]
    if reads_body:
        codes[413] = codes[415] = [ErrorCode.BAD_REQUEST.code]
    return dict(sorted(codes.items()))


def error_response(status: int, codes: list[str]) -> OpenApiResponse:
    """An error answer, narrowed to the codes that this operation has for the status."""
    code: Json = {"properties": {"code": {"type": "string", "enum": sorted(codes)}}}
    return OpenApiResponse({"allOf": [{"$ref": "#/components/schemas/Error"}, code]}, _WHEN[status])


def header_parameters(
    success: int, errors: Iterable[int], *, idempotent: bool, may_hurry: bool
) -> list[OpenApiParameter]:
    """The headers of requests and answers."""
    statuses = [success, *errors]
    parameters = [
        REQUEST_ID,
        TRACEPARENT,
        _answered("X-Request-Id", _REQUEST_ID_SCHEMA, statuses, "Of this request.", always=True),
    ]
    passing = [status for status in statuses if status in (409, 412, 500)] + ([success] if may_hurry else [])
    seconds: Json = {"type": "integer", "minimum": 1}
    parameters.append(
        _answered("Retry-After", seconds, passing, "Seconds; where it will pass by itself.", always=False)
    )
    if idempotent:
        location: Json = {"type": "string", "pattern": r"^/v1/tasks/task-[0-9a-f-]{36}$"}
        replayed: Json = {"type": "string", "enum": ["true"]}
        parameters += [
            IDEMPOTENCY_KEY,
            _answered("Location", location, [success], "The task.", always=True),
            _answered("Idempotent-Replayed", replayed, [success], "The key was seen before.", always=False),
        ]
    return parameters


def complete(result: Json, generator: Any, request: Any, public: bool) -> Json:
    """Postprocessing hook, the last: the errors' components, and requests closed to unknown fields."""
    schemas: Json = result["components"]["schemas"] | copy.deepcopy(_COMPONENTS)
    for name, schema in schemas.items():
        if name.endswith("In"):
            schema["additionalProperties"] = False
    result["components"]["schemas"] = dict(sorted(schemas.items()))
    return result

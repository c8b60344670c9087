"""Every failure of the API as `{"code", "message", "request_id", "details"}` (SPEC §4).

One exception handler for what views raise, and Django's four handlers for what fails outside of a view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from psycopg.errors import LockNotAvailable
from rest_framework import exceptions as drf
from rest_framework.response import Response

from wvs_project.errors import ErrorCode, WvsError
from wvs_project.http.context import note_error_code, request_id_of

log = structlog.get_logger(__name__)


class BodyTooLarge(drf.APIException):
    """413."""

    status_code = 413
    default_detail = "the request body is too large"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is answered."""

    status: int
    code: ErrorCode
    message: str
    details: Mapping[str, object] = field(default_factory=dict)
    retry_after: int | None = None

    @classmethod
    def of(cls, error: WvsError) -> Failure:
        """With the status of its code."""
        return cls(error.code.status, error.code, error.message, error.details, error.retry_after)

    def body(self, request_id: str) -> dict[str, object]:
        """What is sent."""
        return {"code": self.code.code, "message": self.message, "request_id": request_id, "details": self.details}

    def headers(self) -> dict[str, str]:
        """Retry-After, where the failure will pass by itself."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's one handler. None for a crash: Django logs it with its traceback and answers with `server_error`."""
    failure = failure_of(exc)
    if failure is None:
        return None
    note_error_code(context["request"], failure.code.code)
    return Response(failure.body(request_id_of(context["request"])), failure.status, headers=failure.headers())


def failure_of(exc: Exception) -> Failure | None:
    """What to answer to an exception, or None if it is a crash."""
    match exc:
        case WvsError():
            return Failure.of(exc)
        case drf.ValidationError():
            return _invalid(exc)
        case drf.APIException():
            return Failure(exc.status_code, nearest_code(exc.status_code), str(exc.detail))
        case Http404():
            return Failure(404, ErrorCode.NOT_FOUND, "no such thing")
        case PermissionDenied():
            return Failure(403, ErrorCode.FORBIDDEN, "not allowed")
        case BadRequest() | SuspiciousOperation():
            return Failure(400, ErrorCode.BAD_REQUEST, "the request cannot be understood")
        case OperationalError() | InterfaceError():
            return _database_failure(exc)
    return None


def nearest_code(status: int) -> ErrorCode:
    """The code for an HTTP status that has none of its own: 405, 413, 415 and the like."""
    exact = {401: ErrorCode.UNAUTHORIZED, 403: ErrorCode.FORBIDDEN, 404: ErrorCode.NOT_FOUND}
    return exact.get(status, ErrorCode.BAD_REQUEST if status < 500 else ErrorCode.INTERNAL)


def _invalid(exc: drf.ValidationError) -> Failure:
    detail: Any = exc.detail
    fields = detail if isinstance(detail, dict) else {"": detail}
    said = "; ".join(f"{name}: {' '.join(map(str, reasons))}" for name, reasons in fields.items())
    return Failure(400, ErrorCode.BAD_REQUEST, said, {"fields": {name: list(why) for name, why in fields.items()}})


def _database_failure(exc: OperationalError | InterfaceError) -> Failure:
    if isinstance(exc.__cause__, LockNotAvailable):
        locked = "something else is changing this at the moment; try again"
        return Failure(409, ErrorCode.CONFLICT_LOCKED, locked, {"blockers": [{"lock": "row"}]}, retry_after=1)
    log.error("database.unavailable", error=str(exc))
    message = "the database does not answer; repeat the request, a write with the same Idempotency-Key"
    return Failure(500, ErrorCode.INTERNAL, message, retry_after=1)


def _answer(request: HttpRequest, status: int, code: ErrorCode, message: str) -> JsonResponse:
    note_error_code(request, code.code)
    return JsonResponse(Failure(status, code, message).body(request_id_of(request)), status=status)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """handler400: for example a Host that is not in WVS_ALLOWED_HOSTS."""
    return _answer(request, 400, ErrorCode.BAD_REQUEST, "the request cannot be understood; is the Host allowed?")


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    """handler403."""
    return _answer(request, 403, ErrorCode.FORBIDDEN, "not allowed")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """handler404: no such route, or an id in it that cannot be one."""
    return _answer(request, 404, ErrorCode.NOT_FOUND, f"nothing is at {request.path}")


def server_error(request: HttpRequest) -> JsonResponse:
    """handler500: a crash. What crashed is in the log, under the request's id, not in the answer."""
    return _answer(request, 500, ErrorCode.INTERNAL, "something went wrong on our side; the log has it by request_id")

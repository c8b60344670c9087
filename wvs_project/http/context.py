"""What came with a request besides its body: its id and the trace it belongs to (SPEC §4, §11); what it came to."""

from __future__ import annotations

import re
from typing import Final

from django.http import HttpRequest
from rest_framework.request import Request

from observation import tracing
from wvs_project.ids import REQUEST_ID_PATTERN, matches, new_request_id

_REQUEST_ID: Final = "wvs.request_id"
_ERROR_CODE: Final = "wvs.error_code"
_ROUTE_VARIABLE: Final = re.compile(r"<(?:\w+:)?(\w+)>")

AnyRequest = HttpRequest | Request


def request_id_of(request: AnyRequest) -> str:
    """The client's X-Request-Id where it is usable, else one made at the first call; the same for the whole request."""
    known = request.META.get(_REQUEST_ID)
    if known is None:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        known = given if matches(REQUEST_ID_PATTERN, given) else new_request_id()
        request.META[_REQUEST_ID] = known
    return str(known)


def traceparent_of(request: AnyRequest) -> str:
    """For what this request asks for: its own span, or what it came with; the empty string if there is neither."""
    return tracing.traceparent() or given_traceparent_of(request)


def given_traceparent_of(request: AnyRequest) -> str:
    """The traceparent header if it is one, else the empty string."""
    given = str(request.META.get("HTTP_TRACEPARENT", ""))
    return given if tracing.is_traceparent(given) else ""


def note_error_code(request: AnyRequest, code: str) -> None:
    """It was answered with this WVS code."""
    request.META[_ERROR_CODE] = code


def error_code_of(request: AnyRequest) -> str | None:
    """The WVS code that it was answered with."""
    code = request.META.get(_ERROR_CODE)
    return None if code is None else str(code)


def route_of(request: HttpRequest) -> str:
    """The route that it took, as `/v1/workspaces/{wsid}`: never an id, so that there are few. Empty: none."""
    match = request.resolver_match
    return "" if match is None else route_in(match.route)


def route_in(pattern: str) -> str:
    """A pattern of Django's as people write it."""
    return "/" + _ROUTE_VARIABLE.sub(r"{\1}", pattern).strip("^$")

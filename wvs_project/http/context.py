"""What came with a request besides its body: its id and the trace it belongs to (SPEC §4, §11)."""

from __future__ import annotations

import re
from typing import Final

from django.http import HttpRequest
from rest_framework.request import Request

from wvs_project.ids import REQUEST_ID_PATTERN, matches, new_request_id

_REQUEST_ID: Final = "wvs.request_id"
# W3C Trace Context, version 00 and what later versions keep of it.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

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
    """The traceparent header if it is one, else the empty string."""
    given = request.META.get("HTTP_TRACEPARENT", "")
    return given if _TRACEPARENT.fullmatch(given) else ""


def trace_id_of(request: AnyRequest) -> str | None:
    """The trace's id, for the log."""
    match = _TRACEPARENT.fullmatch(request.META.get("HTTP_TRACEPARENT", ""))
    return match[1] if match else None

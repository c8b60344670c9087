"""The outermost layer: every request has an id, every answer returns it, every line that is logged meanwhile has it."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from wvs_project.http.context import request_id_of, trace_id_of

log = structlog.get_logger("wvs.access")

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class RequestContextMiddleware:
    """Binds request_id and trace_id to the log, answers X-Request-Id, and writes the access log's line."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """One request."""
        request_id, trace_id = request_id_of(request), trace_id_of(request)
        bound = {"request_id": request_id} | ({"trace_id": trace_id} if trace_id else {})
        with structlog.contextvars.bound_contextvars(**bound):
            begun = time.perf_counter()
            response = self._get_response(request)
            response["X-Request-Id"] = request_id
            log.info(
                "http.request",
                method=request.method,
                path=request.path,
                status=response.status_code,
                seconds=round(time.perf_counter() - begun, 6),
                client=request.META.get("REMOTE_ADDR", ""),
            )
        return response

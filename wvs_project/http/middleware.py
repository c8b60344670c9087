"""The outermost layer: every request has an id, every answer returns it, every line that is logged meanwhile has it."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from observation import tracing
from observation.tracing import Attributes, Span
from wvs_project.http.context import error_code_of, given_traceparent_of, request_id_of, route_of, traceparent_of

log = structlog.get_logger("wvs.access")

GetResponse = Callable[[HttpRequest], HttpResponseBase]
_OURS = 500


class RequestContextMiddleware:
    """Binds request_id and trace_id to the log, answers X-Request-Id, writes the access log's line and the span."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """One request."""
        request_id = request_id_of(request)
        about: Attributes = {"http.request.method": str(request.method), "wvs.request_id": request_id}
        parent = given_traceparent_of(request)
        with tracing.span(f"HTTP {request.method}", about, parent=parent, kind="server") as span:
            trace_id = tracing.trace_id_in(traceparent_of(request))
            bound = {"request_id": request_id} | ({"trace_id": trace_id} if trace_id else {})
            with structlog.contextvars.bound_contextvars(**bound):
                begun = time.perf_counter()
                response = self._get_response(request)
                response["X-Request-Id"] = request_id
                _say(request, response, time.perf_counter() - begun)
            _end(span, request, response)
        return response


def _say(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    code = error_code_of(request)
    log.info(
        "http.request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        seconds=round(seconds, 6),
        client=request.META.get("REMOTE_ADDR", ""),
        **({"code": code} if code else {}),
    )


def _end(span: Span, request: HttpRequest, response: HttpResponseBase) -> None:
    route = route_of(request)
    if route:
        span.rename(f"HTTP {request.method} {route}")
        span.note({"http.route": route})
    span.note({"http.response.status_code": response.status_code})
    if response.status_code >= _OURS:
        span.fail(error_code_of(request) or str(response.status_code))

"""What is counted of requests (SPEC §11, docs/metrics.md): labels are patterns and words of HTTP, never what came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from http import HTTPMethod
from typing import Any, Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, get_resolver
from prometheus_client import Counter, Gauge, Histogram

from wvs_project.http.context import route_in, route_of

NO_ROUTE: Final = "(none)"
OTHER_METHOD: Final = "OTHER"
_METHODS: Final = frozenset(HTTPMethod)
_PREFIX: Final = "v1/"
# Reads take milliseconds, writes of tasks tens of them, `?wait=` up to a minute.
_TIMES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

GetResponse = Callable[[HttpRequest], HttpResponseBase]

REQUESTS: Final = Counter("wvs_http_requests_total", "Requests answered.", ["route", "method", "code"])
DURATION: Final = Histogram(
    "wvs_http_request_duration_seconds", "From a request to its answer.", ["route", "method"], buckets=_TIMES
)
ACTIVE: Final = Gauge("wvs_active_requests", "Requests being served.")


class MetricsMiddleware:
    """The very outermost: what another layer answers is counted too."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """One request."""
        begun = time.perf_counter()
        with ACTIVE.track_inprogress():
            response = self._get_response(request)
        route, method = route_of(request) or NO_ROUTE, _method(request.method)
        DURATION.labels(route, method).observe(time.perf_counter() - begun)
        REQUESTS.labels(route, method, str(response.status_code)).inc()
        return response


def count_refused(status: int) -> None:
    """What never became a request: the server could not read it."""
    REQUESTS.labels(NO_ROUTE, OTHER_METHOD, str(status)).inc()


def initialise() -> None:
    """Every route of v1 is there from the start, and with it the failures of ours, which an alert wants to see rise."""
    for pattern, methods in _routes(get_resolver(), ""):
        for method in methods:
            route = route_in(pattern)
            DURATION.labels(route, method)
            REQUESTS.labels(route, method, "500")
    REQUESTS.labels(NO_ROUTE, HTTPMethod.GET, "404")


def _routes(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, list[str]]]:
    for entry in resolver.url_patterns:
        pattern = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _routes(entry, pattern)
        elif pattern.startswith(_PREFIX):
            yield pattern, _methods_of(entry)


def _methods_of(entry: URLPattern) -> list[str]:
    actions: Any = getattr(entry.callback, "actions", None)
    view: Any = getattr(entry.callback, "view_class", None)
    names = actions or [name for name in view.http_method_names if hasattr(view, name)]
    return [name.upper() for name in names if name != "options"]


def _method(given: str | None) -> str:
    return given if given in _METHODS else OTHER_METHOD

"""The executor's metrics (SPEC §11), and the small HTTP server that shows them beside its health."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from executor.addresses import Address
from executor.contract import FaultReason, OperationName, Outcome

_LONG: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_SHORT: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ExecutorMetrics:
    """What is counted of this process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._active = Gauge("wvs_executor_active_tasks", "Tasks being executed.", registry=registry)
        self.mount_up = Gauge("wvs_executor_mount_up", "Whether the mount answers.", registry=registry)
        self._clone = Histogram(
            "wvs_clone_duration_seconds", "Cloning a tree.", ["op"], buckets=_LONG, registry=registry
        )
        self._entries = Counter("wvs_clone_entries_total", "Entries of snapshots made.", ["op"], registry=registry)
        self._failed = Counter("wvs_clone_fail_total", "Attempts that failed.", ["reason"], registry=registry)
        self._wait = Histogram(
            "wvs_quiesce_wait_seconds", "From the request to the agent's ack.", buckets=_SHORT, registry=registry
        )
        self._unanswered = Counter("wvs_quiesce_timeout_total", "Freezes that no agent answered.", registry=registry)
        self._freeze = Histogram("wvs_freeze_seconds", "The agent's standstill.", buckets=_SHORT, registry=registry)
        self._switch = Histogram(
            "wvs_switch_duration_seconds", "Switching current, freeze included.", buckets=_SHORT, registry=registry
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """While a task is executed."""
        with self._active.track_inprogress():
            yield

    def done(self, op: OperationName, outcome: Outcome) -> None:
        """What a run said of itself; a repeat that found it done says nothing."""
        if "clone" in outcome.timings:
            self._clone.labels(op).observe(outcome.timings["clone"])
        if outcome.entries is not None and not outcome.already_done:
            self._entries.labels(op).inc(outcome.entries)
        if "switch" in outcome.timings:
            self._switch.observe(outcome.timings["switch"])
        if outcome.agent is not None and outcome.agent.attached:
            self._wait.observe(outcome.agent.wait_seconds)
            self._freeze.observe(outcome.agent.freeze_seconds)

    def failed(self, reason: FaultReason) -> None:
        """An attempt failed."""
        self._failed.labels(reason).inc()
        if reason is FaultReason.QUIESCE_TIMEOUT:
            self._unanswered.inc()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, addr: Address, metrics: ExecutorMetrics, why_not_ready: Callable[[], str | None]) -> None:
        self.address_family = AF_INET6 if ":" in addr.host else AF_INET
        self.metrics = metrics
        self.why_not_ready = why_not_ready
        super().__init__((addr.host, addr.port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """/healthz: the process lives; /readyz: it serves; /metrics."""
        if self.path == "/metrics":
            self._say(HTTPStatus.OK, generate_latest(self.server.metrics.registry), CONTENT_TYPE_LATEST)
        elif self.path == "/healthz":
            self._say(HTTPStatus.OK, b"ok\n")
        elif self.path == "/readyz":
            problem = self.server.why_not_ready()
            if problem is None:
                self._say(HTTPStatus.OK, b"ok\n")
            else:
                self._say(HTTPStatus.SERVICE_UNAVAILABLE, problem.encode() + b"\n")
        else:
            self._say(HTTPStatus.NOT_FOUND, b"/healthz, /readyz and /metrics are here\n")

    def _say(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A scrape is no event."""


@contextmanager
def serving_metrics(addr: Address, metrics: ExecutorMetrics, why_not_ready: Callable[[], str | None]) -> Iterator[None]:
    """Serve until the context ends. Raises OSError when the address cannot be bound."""
    server = _Server(addr, metrics, why_not_ready)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

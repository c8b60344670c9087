"""The executor's metrics (SPEC §11, docs/metrics.md), and the small HTTP server that shows them beside its health."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from executor.addresses import Address
from executor.contract import AgentReport, FaultReason, OperationName, Outcome

_LONG: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_SHORT: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


_CLONING: Final = (OperationName.SNAPSHOT_CREATE, OperationName.SET_CURRENT)
_CLONE_PHASES: Final = ("precopy", "clone")


class ExecutorMetrics:
    """What is counted of the runs of one executor. Costs no lock that somebody else holds for long, and no I/O."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Shown by `registry`, which is the process's; else by one of its own, with the process's figures.

        Only an executor of its own watches its mount, and so has `mount_up`.
        """
        self.registry = shown = registry or CollectorRegistry()
        if registry is None:
            ProcessCollector(registry=shown)
            self.mount_up = Gauge("wvs_executor_mount_up", "Whether the mount answers.", registry=shown)
        self._active = Gauge("wvs_executor_active_tasks", "Runs under way.", registry=shown)
        self._clone = Histogram(
            "wvs_clone_duration_seconds", "Copying a tree, pre-copy included.", ["op"], buckets=_LONG, registry=shown
        )
        self._entries = Counter("wvs_clone_entries_total", "Entries of snapshots made.", ["op"], registry=shown)
        self._failed = Counter("wvs_clone_fail_total", "Runs that failed, by reason.", ["reason"], registry=shown)
        self._wait = Histogram(
            "wvs_quiesce_wait_seconds", "From the request to the agent's ack.", buckets=_SHORT, registry=shown
        )
        self._unanswered = Counter("wvs_quiesce_timeout_total", "Freezes that no agent answered.", registry=shown)
        self._freeze = Histogram("wvs_freeze_seconds", "The agent's standstill.", buckets=_SHORT, registry=shown)
        self._stale = Counter(
            "wvs_resume_stale_total", "Agents that did not follow, or still hold the old tree.", registry=shown
        )
        self._switch = Histogram(
            "wvs_switch_duration_seconds", "Switching current, freeze included.", buckets=_SHORT, registry=shown
        )
        self._initialise()

    def _initialise(self) -> None:
        """0 is a value, a missing series is a question."""
        for op in _CLONING:
            self._clone.labels(op.value)
        self._entries.labels(OperationName.SNAPSHOT_CREATE.value)
        for reason in FaultReason:
            self._failed.labels(reason.value)

    @contextmanager
    def running(self) -> Iterator[None]:
        """While a run is under way."""
        with self._active.track_inprogress():
            yield

    def done(self, op: OperationName, outcome: Outcome) -> None:
        """What a run said of itself; a repeat that found it done says nothing. `op` may be the plain word."""
        if outcome.already_done:
            return
        cloning = [outcome.timings[phase] for phase in _CLONE_PHASES if phase in outcome.timings]
        if cloning and op in _CLONING:
            self._clone.labels(str(op)).observe(sum(cloning))
        if outcome.entries is not None:
            self._entries.labels(str(op)).inc(outcome.entries)
        if "switch" in outcome.timings:
            self._switch.observe(outcome.timings["switch"])

    def failed(self, reason: FaultReason) -> None:
        """A run failed."""
        self._failed.labels(reason.value).inc()

    def unanswered(self) -> None:
        """An agent is attached and did not stand still."""
        self._unanswered.inc()

    def froze(self, seen: AgentReport, *, heard: bool) -> None:
        """A freeze is over, whatever became of the run. `heard`: the agent was given its time to answer the resume."""
        if not seen.attached:
            return
        self._wait.observe(seen.wait_seconds)
        self._freeze.observe(seen.freeze_seconds)
        if heard and (seen.resumed is False or seen.old_handles):
            self._stale.inc()


@cache
def metrics_in_process() -> ExecutorMetrics:
    """Those of an executor inside another process (EXECUTOR_ADDRS=local): shown on that one's port."""
    return ExecutorMetrics(REGISTRY)


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

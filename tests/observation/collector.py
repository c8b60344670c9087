"""A collector of traces, as small as one can be: takes OTLP over HTTP, as protobuf."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from wvs_project.stack.waiting import LOOPBACK


@dataclass(frozen=True)
class Seen:
    """A span as it arrived; `parent` is empty for the first of a trace."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    failed: str | None
    attributes: dict[str, Any]
    begun_at: int
    ended_at: int


class Collector:
    """Thread-safe."""

    def __init__(self) -> None:
        self._spans: list[Seen] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces":
                    collector._take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self._server.server_port}"

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for group in request.resource_spans:
            [service] = [each.value.string_value for each in group.resource.attributes if each.key == "service.name"]
            for scope in group.scope_spans:
                for span in scope.spans:
                    failed = span.status.message if span.status.code == Status.STATUS_CODE_ERROR else None
                    values = {
                        each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes
                    }
                    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                    times = (span.start_time_unix_nano, span.end_time_unix_nano)
                    self._spans.append(Seen(service, span.name, *ids, failed, values, *times))

    def of_task(self, task_id: str) -> list[Seen]:
        """What has arrived so far of the traces in which that task was served, as they began."""
        spans = list(self._spans)
        traces = {span.trace for span in spans if span.attributes.get("wvs.task_id") == task_id}
        return sorted((span for span in spans if span.trace in traces), key=lambda span: span.begun_at)

    def of_trace(self, trace: str) -> list[Seen]:
        """What has arrived so far of one trace, as it began."""
        return sorted((span for span in list(self._spans) if span.trace == trace), key=lambda span: span.begun_at)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector()
    thread = threading.Thread(target=collector._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector._server.shutdown()
        collector._server.server_close()
        thread.join()

"""Traces by the SDK of OpenTelemetry. Loaded by `tracing.start`, and only where traces are on.

The SDK reads its own variables: the sampler (OTEL_TRACES_SAMPLER), the batches (OTEL_BSP_*), where to send to
(OTEL_EXPORTER_OTLP_*; over HTTP, as protobuf), who we are (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES).
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from observation.tracing import Attributes, Kind, Span

_KINDS: Final[dict[Kind, trace.SpanKind]] = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "consumer": trace.SpanKind.CONSUMER,
}
END_SECONDS: Final = 3.0
"""What sending the last spans may take; the SDK by itself would try for half a minute."""
_W3C: Final = TraceContextTextMapPropagator()
_HEADER: Final = "traceparent"


class Otel:
    """See tracing.Tracing. Nothing of it is global, save the current span of each thread."""

    def __init__(self, exporter: str, service: str, *, processor: SpanProcessor | None = None) -> None:
        """`exporter` is console or otlp; `processor` takes its place."""
        resource = Resource({SERVICE_NAME: service}).merge(OTELResourceDetector().detect())
        # By ourselves, not by atexit: who forks, or is killed after its grace, knows best when.
        self._provider = TracerProvider(resource=Resource.create().merge(resource), shutdown_on_exit=False)
        self._provider.add_span_processor(processor or _processor(exporter))
        self._tracer = self._provider.get_tracer("wvs")

    @contextmanager
    def span(
        self, name: str, attributes: Attributes, *, parent: str, kind: Kind, begun_at: int | None
    ) -> Iterator[Span]:
        """See tracing.span."""
        span = self._tracer.start_span(
            name, _context(parent), _KINDS[kind], attributes, start_time=begun_at, record_exception=False
        )
        # Without its traceback: nothing strikes the secrets out of that.
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            ours = _OtelSpan(span)
            try:
                yield ours
            except BaseException as error:
                ours.fail(str(getattr(error, "reason", None) or type(error).__name__))
                raise

    def past(self, name: str, attributes: Attributes, *, begun_at: int, ended_at: int) -> None:
        """See tracing.past."""
        self._tracer.start_span(name, attributes=attributes, start_time=begun_at).end(ended_at)

    def fail(self, why: str) -> None:
        """See tracing.fail."""
        _OtelSpan(trace.get_current_span()).fail(why)

    @contextmanager
    def continued(self, parent: str) -> Iterator[None]:
        """See tracing.continued."""
        token = context.attach(_context(parent) or context.get_current())
        try:
            yield
        finally:
            context.detach(token)

    def traceparent(self) -> str:
        """See tracing.traceparent."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get(_HEADER, "")

    def close(self) -> None:
        """See tracing.Tracing. A collector that does not answer holds up no end of a process."""
        sending = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        sending.start()
        sending.join(END_SECONDS)


class _OtelSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, why: str) -> None:
        self._span.set_status(trace.Status(trace.StatusCode.ERROR, why))


def _context(parent: str) -> Context | None:
    return _W3C.extract({_HEADER: parent}, Context()) if parent else None


def _processor(exporter: str) -> SpanProcessor:
    if exporter == "otlp":
        return BatchSpanProcessor(OTLPSpanExporter())
    return SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stdout, formatter=_line))


def _line(span: ReadableSpan) -> str:
    return json.dumps(json.loads(span.to_json()), ensure_ascii=False) + "\n"

"""The spans that this process makes, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from observation import tracing
from observation.otel import Otel

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
"""As a client sends it."""


class Recorded:
    """The spans that have ended so far."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def named(self, name: str) -> list[ReadableSpan]:
        """In the order of their ends."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def the(self, name: str) -> ReadableSpan:
        """The only one of that name."""
        [span] = self.named(name)
        return span

    @property
    def names(self) -> list[str]:
        """Of all, in the order of their ends."""
        return [span.name for span in self._exporter.get_finished_spans()]


def traceparent_of(span: ReadableSpan) -> str:
    """As its children in other processes are told."""
    context = span.context
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def parent_id_of(span: ReadableSpan) -> str:
    """Empty: it is the first of its trace."""
    return f"{span.parent.span_id:016x}" if span.parent else ""


def trace_of(span: ReadableSpan) -> str:
    """The id of its trace."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def failure_of(span: ReadableSpan) -> str | None:
    """Why it failed; None: it did not."""
    return span.status.description if span.status.status_code is StatusCode.ERROR else None


@contextmanager
def recorded() -> Iterator[Recorded]:
    """Traces are on meanwhile."""
    exporter = InMemorySpanExporter()
    tracing.use(Otel("none", "a-test", processor=SimpleSpanProcessor(exporter)))
    try:
        yield Recorded(exporter)
    finally:
        tracing.stop()

"""Traces (SPEC §11), as the code that is traced sees them: a span is a context, and costs nothing while it is off.

Off is the default: then we load nothing of OpenTelemetry, and `span` answers with one object that does nothing. On,
by OTEL_TRACES_EXPORTER, `otel.py` does the work. A trace crosses processes as the text of a traceparent header (W3C
Trace Context, version 00 and what later versions keep of it): in the task's row, and in gRPC's metadata.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final, Literal, Protocol, cast

EXPORTERS: Final = ("none", "console", "otlp")
"""What OTEL_TRACES_EXPORTER may be."""
Attributes = Mapping[str, str | int | float | bool]
Kind = Literal["internal", "server", "consumer"]
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Span(Protocol):
    """Something that takes time. A body that raises ends it with status ERROR and the exception's reason or name."""

    def rename(self, name: str) -> None:
        """It turned out what it is."""
        ...

    def note(self, attributes: Attributes) -> None:
        """What is known of it by now."""
        ...

    def fail(self, why: str) -> None:
        """It went wrong though nothing was raised."""
        ...


class Tracing(Protocol):
    """What makes spans; one for a process."""

    def span(
        self, name: str, attributes: Attributes, *, parent: str, kind: Kind, begun_at: int | None
    ) -> AbstractContextManager[Span]:
        """See span()."""
        ...

    def past(self, name: str, attributes: Attributes, *, begun_at: int, ended_at: int) -> None:
        """See past()."""
        ...

    def fail(self, why: str) -> None:
        """See fail()."""
        ...

    def continued(self, parent: str) -> AbstractContextManager[object]:
        """See continued()."""
        ...

    def traceparent(self) -> str:
        """See traceparent()."""
        ...

    def close(self) -> None:
        """Send what was not sent yet."""
        ...


class _Nothing:
    """A span while traces are off, and its context."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *raised: object) -> None:
        return None

    def rename(self, name: str) -> None:
        """Nothing."""

    def note(self, attributes: Attributes) -> None:
        """Nothing."""

    def fail(self, why: str) -> None:
        """Nothing."""


_NOTHING: Final = _Nothing()
_NO_ATTRIBUTES: Final[Attributes] = {}
_tracing: Tracing | None = None


def start(exporter: str, service: str) -> None:
    """Trace from now on, unless `exporter` is "none". Not before a fork: the exporter has a thread.

    `service` names this process where OTEL_SERVICE_NAME does not; every other OTEL_* variable is read by the SDK.
    Raises ValueError for what the SDK cannot use.
    """
    stop()
    if exporter != "none":
        use(cast(Tracing, importlib.import_module("observation.otel").Otel(exporter, service)))


def use(tracing: Tracing | None) -> None:
    """Let this one make the spans; None: nobody."""
    global _tracing
    _tracing = tracing


def stop() -> None:
    """Trace no more; what was traced is sent, unless that takes longer than a few seconds."""
    tracing = _tracing
    use(None)
    if tracing is not None:
        tracing.close()


def span(
    name: str,
    attributes: Attributes = _NO_ATTRIBUTES,
    *,
    parent: str = "",
    kind: Kind = "internal",
    begun_at: int | None = None,
) -> AbstractContextManager[Span]:
    """It lasts as long as the context, and is the parent of what is begun meanwhile in this thread.

    `parent` is a traceparent, where it is not the current span; `begun_at`, where that was earlier, is nanoseconds
    since 1970 (time.time_ns).
    """
    if _tracing is None:
        return _NOTHING
    return _tracing.span(name, attributes, parent=parent, kind=kind, begun_at=begun_at)


def past(name: str, attributes: Attributes = _NO_ATTRIBUTES, *, begun_at: int, ended_at: int) -> None:
    """A span below the current one that is over already. Nanoseconds since 1970."""
    if _tracing is not None:
        _tracing.past(name, attributes, begun_at=begun_at, ended_at=ended_at)


def fail(why: str) -> None:
    """The current span went wrong, though nothing is raised through it."""
    if _tracing is not None:
        _tracing.fail(why)


def continued(parent: str) -> AbstractContextManager[object]:
    """What this thread begins meanwhile is below that span of another process's; nothing changes for an empty text."""
    return _NOTHING if _tracing is None or not parent else _tracing.continued(parent)


def traceparent() -> str:
    """The current span, for another process; the empty string while traces are off or nothing is current."""
    return "" if _tracing is None else _tracing.traceparent()


def is_traceparent(text: str) -> bool:
    """Whether it is one."""
    return _TRACEPARENT.fullmatch(text) is not None


def trace_id_in(traceparent: str) -> str | None:
    """The id of the trace that a traceparent names; None if it is none."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return match[1] if match else None

"""What goes along with each call over gRPC as metadata: whom it serves, and the trace that it belongs to (SPEC §11).

Standard keys, so that what stands between, or another caller, can read and write them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, Protocol

import structlog

from executor.contract import ExecuteTask
from observation import tracing

Metadata = tuple[tuple[str, str], ...]
_REQUEST_ID: Final = "x-request-id"
_TRACEPARENT: Final = "traceparent"
_LONGEST: Final = 128


class Called(Protocol):
    """A call, on the side that serves it."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """Pairs of key and value."""
        ...


def metadata() -> Metadata:
    """Of a call that this thread is about to make."""
    request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
    values = {_REQUEST_ID: request_id if _is_usable(request_id) else "", _TRACEPARENT: tracing.traceparent()}
    return tuple((key, value) for key, value in values.items() if value)


def of_call(call: Called) -> dict[str, str]:
    """What came with it, of what metadata() sends; what is unusable is left out."""
    given = {key: value for key, value in call.invocation_metadata() or () if isinstance(value, str)}
    usable = {_REQUEST_ID: _is_usable, _TRACEPARENT: tracing.is_traceparent}
    return {key: given[key] for key, is_usable in usable.items() if is_usable(given.get(key, ""))}


@contextmanager
def serving(carried: dict[str, str], task: ExecuteTask | None = None) -> Iterator[None]:
    """Every line that is logged meanwhile says whom it serves, and every span belongs to the caller's trace.

    What the task says comes from its row, and is believed before what came along.
    """
    parent = carried.get(_TRACEPARENT, "") or (task.traceparent if task else "")
    about: dict[str, object] = {"request_id": carried.get(_REQUEST_ID, ""), "trace_id": tracing.trace_id_in(parent)}
    if task is not None:
        about |= {"request_id": task.request_id or about["request_id"]}
        about |= {"task_id": task.task_id, "wsid": task.wsid, "op": str(task.op), "attempt": task.attempt}
    with ExitStack() as stack:
        known = {name: value for name, value in about.items() if value not in (None, "")}
        stack.enter_context(structlog.contextvars.bound_contextvars(**known))
        stack.enter_context(tracing.continued(parent))
        yield


def _is_usable(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and text.isascii() and text.isprintable()

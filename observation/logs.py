"""Logs (SPEC §11): one JSON object a line on stderr, or coloured text on a terminal.

Everything goes through here, structlog's loggers and the standard library's alike. What the contextvars of structlog
hold (request_id, task_id, wsid, op, attempt, trace_id) is on every line. Secrets are struck out.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any, Final, TextIO

import structlog
from structlog.typing import Processor

from observation import confidential

_OURS: Final = "wvs"
_QUIETER: Final = {
    # A 4xx is in the access log; a 5xx comes with its traceback.
    "django.request": logging.ERROR,
    "django.server": logging.ERROR,
    "dramatiq": logging.INFO,
}


def _order(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    first = {name: event.pop(name) for name in ("ts", "level", "event") if name in event}
    return {**first, **event}


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is at that moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.name = _OURS

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError("it is sys.stderr")


def configure_logging(level: str, fmt: str, secrets: Iterable[str] = ()) -> None:
    """Set up this process's logging; a repeat replaces the one before.

    `level` is debug, info, warning or error; `fmt` is json, console, or auto: console on a terminal, else json.
    `secrets` are this process's own: wherever they stand in a line, they are struck out.
    """
    confidential.know(secrets)
    on_terminal = fmt == "console" or (fmt == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ExtraAdder(allow=()),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_last_steps(on_terminal=on_terminal))
    )
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if handler.name == _OURS]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in _QUIETER.items():
        logging.getLogger(name).setLevel(max(least, root.level))


def _last_steps(*, on_terminal: bool) -> list[Processor]:
    # The traceback becomes text first, so that it is scrubbed too; structlog's own on a terminal would show variables.
    steps: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        confidential.strike_out_secrets,
    ]
    if on_terminal:
        plain = structlog.dev.plain_traceback
        return [*steps, structlog.dev.ConsoleRenderer(timestamp_key="ts", exception_formatter=plain)]
    return [*steps, _order, structlog.processors.JSONRenderer(ensure_ascii=False, default=str)]

"""What wvs-agent says on standard error (SPEC §11): a sentence for people, or one JSON object a line.

In the shape of every other process of WVS: `ts`, `level`, `event`, `wsid`; `message` is the sentence. A program that
embeds the watcher logs as it likes: the records carry `event`, and where there is one `task_id`.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

_FIELDS: Final = ("task_id", "seconds")


class JsonLines(logging.Formatter):
    """`event` is the record's own, where it has one: it stays the same though the sentence changes."""

    def __init__(self, wsid: str) -> None:
        super().__init__()
        self._wsid = wsid

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        said: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "wsid": self._wsid,
        }
        said |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        said["message"] = record.getMessage()
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=True, default=str)


def configure(level: str, fmt: str, wsid: str) -> None:
    """Everything of this process on standard error. `fmt` is json, console, or auto: text on a terminal, else JSON."""
    as_text = fmt == "console" or (fmt == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("wvs-agent: %(message)s") if as_text else JsonLines(wsid))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)

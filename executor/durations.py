"""Durations as people write them in settings: `30s`, `5m`, `1.5h`, `250ms`, `7d` or plain seconds (SPEC §11)."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError that says what is accepted; zero and less are no durations."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write 250ms, 30s, 5m, 1h, 7d or plain seconds")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds <= 0:
        raise ValueError(f"{text!r}: a duration must be longer than zero")
    return seconds

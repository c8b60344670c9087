"""When a failed attempt is tried again (SPEC §6): pure."""

from __future__ import annotations

from typing import Final

LIMIT_SECONDS: Final = 300.0
JITTER: Final = 0.1


def backoff(attempt: int, *, base: float, chance: float) -> float:
    """Seconds to wait after attempt number `attempt` (1 is the first) failed.

    `base · 2^(attempt-1)`, at most 300 s, plus up to 10 % by `chance` in [0, 1), which the caller draws.
    """
    doublings = min(max(attempt, 1) - 1, 60)
    return min(base * 2.0**doublings, LIMIT_SECONDS) * (1.0 + JITTER * chance)

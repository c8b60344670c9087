"""`python -m tests.chaos` (`make chaos`): a long run, and what came of it. WVS_CHAOS_SEED, WVS_CHAOS_SECONDS,
WVS_CHAOS_EXECUTORS (so many executors as services of their own), WVS_CHAOS_LOGS (a directory that keeps the logs).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom

from rich.console import Console

from tests.chaos.base import Base
from tests.chaos.run import run
from tests.chaos.summary import show
from tests.servers import clear_killed_runs
from wvs_project.stack.stopping import StopAsked, stop_signals

_SETTLE_SECONDS = 330.0
_console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Exit codes: 0 no violation, 1 some, 130 stopped."""
    seed = int(os.environ.get("WVS_CHAOS_SEED") or SystemRandom().randrange(10**6))
    seconds = float(os.environ.get("WVS_CHAOS_SECONDS") or 600)
    executors = int(os.environ.get("WVS_CHAOS_EXECUTORS") or 0)
    kept = os.environ.get("WVS_CHAOS_LOGS")
    _console.print(f"chaos for {seconds:g} s; again with WVS_CHAOS_SEED={seed} WVS_CHAOS_EXECUTORS={executors}")
    clear_killed_runs()
    begun = time.monotonic()
    base = Base()
    try:
        base.start()
        say, keep = _say_since(begun), Path(kept) if kept else None
        report = run(
            base, seed=seed, seconds=seconds, settle_limit=_SETTLE_SECONDS, executors=executors, say=say, keep=keep
        )
    finally:
        base.stop()
    show(report)
    return 1 if report.violations else 0


def _say_since(begun: float) -> Callable[[str], None]:
    return lambda text: _console.print(f"[dim]{time.monotonic() - begun:6.1f}[/dim] {text}")


if __name__ == "__main__":
    with stop_signals():
        try:
            sys.exit(main())
        except StopAsked:
            sys.exit(130)

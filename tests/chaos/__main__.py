"""`python -m tests.chaos` (`make chaos`): a long run, and what came of it. WVS_CHAOS_SEED, WVS_CHAOS_SECONDS,
WVS_CHAOS_LOGS (a directory that keeps the logs)."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import SystemRandom

from rich.console import Console
from rich.table import Table

from tests.chaos.base import Base
from tests.chaos.run import Report, run
from tests.servers import clear_killed_runs
from wvs_project.stack.stopping import StopAsked, stop_signals

_SETTLE_SECONDS = 330.0
_console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Exit codes: 0 no violation, 1 some, 130 stopped."""
    seed = int(os.environ.get("WVS_CHAOS_SEED") or SystemRandom().randrange(10**6))
    seconds = float(os.environ.get("WVS_CHAOS_SECONDS") or 600)
    kept = os.environ.get("WVS_CHAOS_LOGS")
    _console.print(f"chaos for {seconds:g} s; again with WVS_CHAOS_SEED={seed}")
    clear_killed_runs()
    begun = time.monotonic()
    base = Base()
    try:
        base.start()
        say, keep = _say_since(begun), Path(kept) if kept else None
        report = run(base, seed=seed, seconds=seconds, settle_limit=_SETTLE_SECONDS, say=say, keep=keep)
    finally:
        base.stop()
    show(report)
    return 1 if report.violations else 0


def show(report: Report) -> None:
    """The summary."""
    tables: Mapping[str, Counter[str]] = {
        "faults": report.faults,
        "failpoints armed": report.armed,
        "processes that died": report.deaths,
        "tasks by their end": report.tasks,
        "why tasks died": report.errors,
        "requests by their answer (0: none)": report.answers,
    }
    for title, counts in tables.items():
        table = Table(title=title, title_justify="left")
        table.add_column("what", min_width=44)
        table.add_column("how often", justify="right")
        for name, count in sorted(counts.items()):
            table.add_row(name, str(count))
        table.add_section()
        table.add_row("all", str(sum(counts.values())))
        _console.print(table)
    _console.print(
        f"seed {report.seed}, {report.seconds:g} s: {sum(report.faults.values())} faults, {report.accepted} tasks "
        f"accepted and all finished {report.settled_after:.1f} s after the last fault, "
        f"{report.repeated} requests repeated"
    )
    _console.print(
        f"{report.holds} executions, {report.freezes} freezes, longest standstill {report.longest_standstill:.2f} s, "
        f"{report.entries} entries on the volume; {len(report.violations)} violations"
    )
    for violation in report.violations:
        _console.print(violation, markup=False)


def _say_since(begun: float) -> Callable[[str], None]:
    return lambda text: _console.print(f"[dim]{time.monotonic() - begun:6.1f}[/dim] {text}")


if __name__ == "__main__":
    with stop_signals():
        try:
            sys.exit(main())
        except StopAsked:
            sys.exit(130)

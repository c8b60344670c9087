"""What came of a run, in tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from tests.chaos.run import Report


def show(report: Report) -> None:
    """On standard output."""
    console = Console(highlight=False, soft_wrap=True)
    tables: Mapping[str, Counter[str]] = {
        "faults": report.faults,
        "failpoints armed": report.armed,
        "processes that died": report.deaths,
        "tasks by their end": report.tasks,
        "runs by executor": report.executed,
        "why tasks died": report.errors,
        "requests by their answer (0: none)": report.answers,
    }
    for title, counts in tables.items():
        if not counts:
            continue
        table = Table(title=title, title_justify="left")
        table.add_column("what", min_width=44)
        table.add_column("how often", justify="right")
        for name, count in sorted(counts.items()):
            table.add_row(name, str(count))
        table.add_section()
        table.add_row("all", str(sum(counts.values())))
        console.print(table)
    console.print(
        f"seed {report.seed}, {report.seconds:g} s: {sum(report.faults.values())} faults, {report.accepted} tasks "
        f"accepted and all finished {report.settled_after:.1f} s after the last fault, "
        f"{report.repeated} requests repeated"
    )
    console.print(
        f"{report.holds} executions, {report.freezes} freezes, longest standstill {report.longest_standstill:.2f} s, "
        f"{report.entries} entries on the volume; {len(report.violations)} violations"
    )
    for violation in report.violations:
        console.print(violation, markup=False)

"""`manage.py cleanup`: what nobody needs any more goes, from the disk and from the tasks table (SPEC §9)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from snapshots.housekeeping import delete_unneeded_tasks, unneeded_tasks
from snapshots.leftovers import Verdict
from snapshots.purge import Purge
from snapshots.sweep import Sweeper, SweepReport
from tasks.audit import Actor
from tasks.chores import Tools
from tasks.management.operator import OperatorCommand, duration, tools_for
from wvs_project.config import LEAST_RETENTION, Config

DISABLED_FOR: Final = 30 * 86400.0
_EPILOG: Final = """
What goes: staging of attempts that are over; live trees that were switched away from longer ago than WVS_LIVE_GRACE,
or never switched to; directories of dropped snapshots; freezes that a dead executor asked for; finished tasks older
than WVS_TASK_RETENTION. What stays, whatever is asked: what `current` or a row names, what an unfinished task needs,
and every tree that was written to after it was switched away from.

  manage.py cleanup --dry-run                      say of each thing whether it would go, and why (-v 2: snapshots too)
  manage.py cleanup --wsid first --older-than 1h   old trees of one workspace, after an hour instead of a day
  manage.py cleanup --purge-disabled               the trees of workspaces disabled for 30 days, too

Exit code 0: done; 1: something that should have gone is still there; 2: it could not begin.
"""


class Command(OperatorCommand):
    """The same sweep as the scheduler's, now and by hand."""

    help = "Delete what nobody needs any more: staging, old trees, dropped snapshots' directories, old finished tasks."
    epilog = _EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        """See the help."""
        parser.add_argument("--dry-run", action="store_true", help="delete nothing, say what would go and what stays")
        parser.add_argument("--wsid", action="append", help="only this workspace, and no tasks; may be repeated")
        parser.add_argument(
            "--older-than",
            type=duration,
            metavar="DURATION",
            help="in place of WVS_LIVE_GRACE, of WVS_TASK_RETENTION (7d at least) and of 30d for --purge-disabled",
        )
        parser.add_argument("--purge-disabled", action="store_true", help="the trees of long disabled workspaces too")
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        """Sweep, purge, forget."""
        with tools_for("wvs-cleanup") as tools:
            self._everything = options["verbosity"] > 1
            reports = list(self._shown(_reports(tools, options), quiet=options["json"]))
            tasks = 0 if options["wsid"] else _tasks(tools.config, options)
        self._conclude(reports, tasks, options)

    def _shown(self, reports: Iterable[SweepReport], *, quiet: bool) -> Iterator[SweepReport]:
        """Each report as it comes."""
        for report in self.progress(reports, "workspaces"):
            if not quiet:
                self._show(report)
            yield report

    def _show(self, report: SweepReport) -> None:
        for verdict in report.verdicts:
            if self._everything or not verdict.ordinary:
                self.stdout.write(f"{report.wsid}  {_line(verdict)}")
        if report.busy:
            self.stdout.write(f"{report.wsid}  busy: a task runs; the next sweep takes it")
        for problem in report.problems:
            self.stdout.write(self.style.ERROR(f"{report.wsid}  {problem}"))

    def _conclude(self, reports: list[SweepReport], tasks: int, options: dict[str, Any]) -> None:
        gone = Counter(verdict.kind.value for report in reports for verdict in report.verdicts if verdict.goes)
        problems = sum(len(report.problems) for report in reports)
        if options["json"]:
            items = [asdict(report) for report in reports if report.verdicts or report.problems or report.busy]
            self.stdout.write(json.dumps({"dry_run": options["dry_run"], "workspaces": items, "tasks": tasks}))
        else:
            would = "would go" if options["dry_run"] else "gone"
            things = ", ".join(f"{count} {kind}" for kind, count in sorted(gone.items())) or "nothing"
            self.stdout.write(f"{would}: {things}; finished tasks: {tasks}")
        if problems:
            raise CommandError(f"{problems} things should have gone and are still there", returncode=1)


def _reports(tools: Tools, options: dict[str, Any]) -> Iterator[SweepReport]:
    older_than, wsids, dry_run = options["older_than"], options["wsid"], options["dry_run"]
    actor = Actor.this_process("command")
    if options["purge_disabled"]:
        yield from Purge(tools, older_than or DISABLED_FOR, actor, dry_run=dry_run).purge_all(wsids)
    grace = timedelta(seconds=older_than or tools.config.live_grace)
    yield from Sweeper(tools, grace, actor, dry_run=dry_run).sweep_all(wsids)


def _tasks(config: Config, options: dict[str, Any]) -> int:
    retention = max(options["older_than"] or config.task_retention, LEAST_RETENTION)
    if options["dry_run"]:
        return unneeded_tasks(retention=retention).count()
    return sum(delete_unneeded_tasks(retention=retention))


def _line(verdict: Verdict) -> str:
    return f"{'goes ' if verdict.goes else 'stays'}  {verdict.kind}/{verdict.name}: {verdict.why}"

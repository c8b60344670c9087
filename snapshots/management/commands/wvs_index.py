"""`manage.py wvs_index`: disk against rows, and the repair of what can be repaired (SPEC §9)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from executor.contract import WSID_PATTERN, matches
from snapshots.drift_counts import OF_THE_INSPECTION, note_drift
from snapshots.index import Finding
from snapshots.inspection import Report, count_drift, drift_inspector
from tasks.audit import Actor
from tasks.chores import Tools
from tasks.management.operator import CANNOT_BEGIN, OperatorCommand, tools_for
from workspaces.models import Workspace

_EPILOG: Final = """
Every difference is looked at a second time while no task runs in its workspace, so a task in flight is never reported.

What --fix writes (always the rows, never the disk; one audit row index.fix for each workspace):
  missing_row       a complete snapshot without a row: its row, from its descriptor; that of a task which ended CANCELED
                    or DEAD only with --adopt
  orphaned_row      a row without its snapshot: orphaned_at
  orphan_found      a row with orphaned_at whose snapshot is there: orphaned_at is taken back
  pointer           `current` points elsewhere than the row says: the row follows the symlink
What it only reports: mismatch, missing_current, missing_workspace, unknown_workspace, invalid_snapshot, strange, and
undeleted_directory, which the sweep takes (see cleanup).

  manage.py wvs_index                              report
  manage.py wvs_index --fix                        repair, and report what is left
  manage.py wvs_index --fix --adopt --wsid first   also what a canceled task left in one workspace
  manage.py wvs_index --json | jq .findings

JSON: {"fix", "adopt", "workspaces": how many were looked at, "findings": [{"wsid", "kind", "what", "detail",
"repair": what --fix would do or null, "repaired": true | false}], "undecided": [wsid], "problems": [{"wsid",
"problem"}]}. Keys may be added, none will change.

Exit code 0: nothing differs, or all was repaired; 1: something still differs, or could not be decided since a task ran
all the time; 2: it could not begin.
"""


class Command(OperatorCommand):
    """Disk against rows."""

    help = "Compare the disk with the rows, report every difference, and with --fix repair the rows."
    epilog = _EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        """See the help."""
        parser.add_argument("--fix", action="store_true", help="repair what can be repaired")
        parser.add_argument("--adopt", action="store_true", help="with --fix: also snapshots of CANCELED or DEAD tasks")
        parser.add_argument("--dry-run", action="store_true", help="write nothing (the default; not with --fix)")
        parser.add_argument("--wsid", action="append", help="only this workspace; may be repeated")
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        """Inspect, say, repair."""
        _refuse_nonsense(options)
        with tools_for("wvs-index") as tools:
            if options["fix"]:
                _refuse_an_empty_volume(tools)
            actor = Actor.this_process("command")
            inspector = drift_inspector(tools, actor, fix=options["fix"], adopt=options["adopt"])
            wsids = _chosen(options["wsid"], inspector.everywhere())
            reports = list(self._shown(inspector.inspect_all(wsids), len(set(wsids)), quiet=options["json"]))
            if options["fix"] and not options["wsid"]:
                note_drift([one.kind for report in reports for one in report.findings], OF_THE_INSPECTION)
        self._conclude(reports, options)

    def _shown(self, reports: Iterable[Report[Finding]], total: int, *, quiet: bool) -> Iterator[Report[Finding]]:
        """Each report as it comes."""
        for report in self.progress(reports, "workspaces", total=total):
            count_drift(report)
            if not quiet:
                self._show(report)
            yield report

    def _show(self, report: Report[Finding]) -> None:
        for finding in report.repaired:
            self.stdout.write(f"{_line(finding)}  {self.style.SUCCESS('repaired')}")
        for finding in report.findings:
            remedy = f"  --fix: {finding.repair}" if finding.repair else ""
            self.stdout.write(self.style.WARNING(_line(finding)) + remedy)
        if report.busy:
            self.stdout.write(f"{report.wsid}  undecided: a task ran whenever it was looked at")
        for problem in report.problems:
            self.stdout.write(self.style.ERROR(f"{report.wsid}  {problem}"))

    def _conclude(self, reports: list[Report[Finding]], options: dict[str, Any]) -> None:
        left = sum(len(report.findings) for report in reports)
        repaired = sum(len(report.repaired) for report in reports)
        unclear = sum(report.busy or bool(report.problems) for report in reports)
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(reports, options)))
        else:
            self.stdout.write(f"workspaces: {len(reports)}; repaired: {repaired}; left: {left}; undecided: {unclear}")
        if left or unclear:
            raise CommandError(f"{left} differences left, {unclear} workspaces undecided", returncode=1)


def _refuse_nonsense(options: dict[str, Any]) -> None:
    if options["dry_run"] and options["fix"]:
        raise CommandError("--dry-run and --fix exclude one another", returncode=CANNOT_BEGIN)
    if options["adopt"] and not options["fix"]:
        raise CommandError("--adopt says what --fix may do: give both", returncode=CANNOT_BEGIN)
    bad = [wsid for wsid in options["wsid"] or () if not matches(WSID_PATTERN, wsid)]
    if bad:
        raise CommandError(f"{bad[0]!r} is no wsid", returncode=CANNOT_BEGIN)


def _chosen(named: list[str] | None, known: list[str]) -> list[str]:
    """A name with a slip in it must not be answered with "nothing differs"."""
    unknown = sorted(set(named or ()) - set(known))
    if unknown:
        raise CommandError(f"no row and no volume knows {', '.join(unknown)}", returncode=CANNOT_BEGIN)
    return named or known


def _refuse_an_empty_volume(tools: Tools) -> None:
    """A mount point without its mount looks like a volume from which everything is gone: no row may follow that."""
    if not tools.upkeep.workspaces() and Workspace.objects.filter(current_path__isnull=False).exists():
        raise CommandError("not one workspace is on the volume: is it mounted?", returncode=CANNOT_BEGIN)


def _line(finding: Finding) -> str:
    return f"{finding.wsid}  {finding.kind.value:<19}  {finding.what}: {finding.detail}"


def _as_json(reports: list[Report[Finding]], options: dict[str, Any]) -> dict[str, Any]:
    findings = [
        asdict(finding) | {"repaired": is_repaired}
        for report in reports
        for is_repaired, some in ((True, report.repaired), (False, report.findings))
        for finding in some
    ]
    return {
        "fix": options["fix"],
        "adopt": options["adopt"],
        "workspaces": len(reports),
        "findings": findings,
        "undecided": [report.wsid for report in reports if report.busy],
        "problems": [{"wsid": r.wsid, "problem": problem} for r in reports for problem in r.problems],
    }

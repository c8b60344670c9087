"""`manage.py create_demo`: rows to look at, in a control plane that serves nobody yet (SPEC §9)."""

from __future__ import annotations

import json
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from snapshots.demo import PREFIX, batches, write_story
from tasks.management.operator import CANNOT_BEGIN, OperatorCommand, answering
from workspaces.models import Workspace
from wvs_project.db import read_clock

_EPILOG: Final = """
Workspaces in every state, snapshots, switches and drops of four weeks, DEAD tasks of every operation, and the audit
trail of all that. There is no disk behind it: what waits in it is due in a month, and wvs_index would report all of it.
So it is for a control plane of its own, and refuses one in which real workspaces live.

  manage.py create_demo                            24 workspaces
  manage.py create_demo --workspaces 1000 --seed 7 --dry-run
  manage.py create_demo --json

JSON: {"dry_run", "workspaces", "snapshots", "tasks", "events"}: how many rows. Keys may be added, none will change.

Exit code 0: done; 2: it could not begin.
"""


class Command(OperatorCommand):
    """All of it or nothing."""

    help = "Fill an empty control plane with a believable data set, to look at."
    epilog = _EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        """See the help."""
        parser.add_argument(
            "--workspaces", type=int, default=24, help="how many (24; at least 12 for every state and end)"
        )
        parser.add_argument("--seed", type=int, default=1, help="another seed, another story (1)")
        parser.add_argument("--dry-run", action="store_true", help="write nothing, say how many rows it would be")
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        """Tell the story, write it down."""
        if options["workspaces"] < 1:
            raise CommandError("--workspaces: at least 1", returncode=CANNOT_BEGIN)
        with answering(), transaction.atomic():
            _refuse_company()
            rows = write_story(workspaces=options["workspaces"], seed=options["seed"], now=read_clock())
            if not options["dry_run"]:
                for what, count in self.progress(batches(rows), "tables written"):
                    if not options["json"]:
                        self.stdout.write(f"{count} {what}")
        counts = {name: len(getattr(rows, name)) for name in ("workspaces", "snapshots", "tasks", "events")}
        if options["json"]:
            self.stdout.write(json.dumps({"dry_run": options["dry_run"], **counts}))
        elif options["dry_run"]:
            self.stdout.write("would write " + ", ".join(f"{count} {name}" for name, count in counts.items()))


def _refuse_company() -> None:
    real = Workspace.objects.exclude(wsid__startswith=PREFIX).first()
    if real is not None:
        raise CommandError(
            f"{real.wsid} lives here: make the demo in a control plane of its own", returncode=CANNOT_BEGIN
        )
    if Workspace.objects.exists():
        raise CommandError("the demo is here already", returncode=CANNOT_BEGIN)

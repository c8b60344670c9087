"""`manage.py check_invariants`: what must never be, looked for in the tables and on the disk (SPEC §9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, InterfaceError

from executor.upkeep import Upkeep
from snapshots.invariants import Examination, examine
from tasks.management.operator import CANNOT_BEGIN, OperatorCommand, tools_for

_EPILOG = """
I1   at most one task RUNNING in a workspace
I2   legal transitions only
I3   tasks of a workspace start in order
I4   no attempt above its maximum, fences rise
I5   one published tree for each task that made one, none of a canceled one
I6   no snapshot dropped that something needs
I7   everything finishes
I8   a worker that was overtaken changes nothing
I9   runs of one workspace never overlap
I10  no guard holds back VACUUM
I11  one task for a key
I12  `current` is what the row says
`schema`: a constraint or trigger of the data model is missing or disabled.

  manage.py check_invariants                        now, while everything runs
  manage.py check_invariants --settled              also that no task is left: nothing is being asked for any more
  manage.py check_invariants --no-disk              the tables only: needs no volume
  manage.py check_invariants --json | jq .violations

JSON: {"violations": [{"invariant", "wsid": or null, "detail"}], "checked": [name], "unseen": [what, and why]}. Keys may
be added, none will change.

Exit code 0: none is broken, as far as could be seen; 1: one is; 2: it could not look.
"""


class Command(OperatorCommand):
    """I1 to I12."""

    help = "Check the invariants of the task engine, in the tables and on the disk."
    epilog = _EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        """See the help."""
        parser.add_argument("--settled", action="store_true", help="no task may be left that is not finished")
        parser.add_argument("--no-disk", action="store_true", help="do not look at the volume")
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        """Look, and say what is broken and what was not seen."""
        with _volume(wanted=not options["no_disk"]) as upkeep:
            seen = examine(upkeep, settled=options["settled"], with_history=True)
        if options["json"]:
            self.stdout.write(json.dumps(asdict(seen)))
        else:
            self._show(seen)
        if seen.violations:
            raise CommandError(f"{len(seen.violations)} violations", returncode=1)

    def _show(self, seen: Examination) -> None:
        for violation in seen.violations:
            text = f"{violation.invariant:<6}  {violation.wsid or '-'}  {violation.detail}"
            self.stdout.write(self.style.ERROR(text))
        self.stdout.write(f"checked: {', '.join(seen.checked)}")
        for what in seen.unseen:
            self.stdout.write(self.style.WARNING(f"not seen: {what}"))
        self.stdout.write("broken" if seen.violations else "none is broken")


@contextmanager
def _volume(*, wanted: bool) -> Iterator[Upkeep | None]:
    """The execution plane, if it is wanted. Raises CommandError with exit code 2."""
    if wanted:
        with tools_for("wvs-check") as tools:
            yield tools.upkeep
    else:
        try:
            yield None
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(f"PostgreSQL: {error}", returncode=CANNOT_BEGIN) from None

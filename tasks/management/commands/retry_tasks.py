"""`manage.py retry_tasks`: DEAD tasks, tried anew (SPEC §6, §9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from tasks.audit import Actor
from tasks.management.operator import CANNOT_BEGIN, OperatorCommand, answering, duration
from tasks.models import Op, Task
from tasks.services import retry_dead_task
from wvs_project.errors import WvsError

_EPILOG: Final = """
A retry is a new task that names the old one (params.retries); the DEAD one stays as history. A snapshot gets an id of
its own. A task that was retried before is answered with the task that its retry made: if that one is DEAD too, retry
that one.

  manage.py retry_tasks task-0199…                          one
  manage.py retry_tasks --op snapshot_create --newer-than 2h --dry-run
  manage.py retry_tasks --wsid first                        all DEAD tasks of one workspace, oldest first
  manage.py retry_tasks --all --json | jq .tasks

JSON: {"dry_run", "tasks": [{"task_id", "wsid", "op", "retried_by": the new task or null (always null in a dry run, save
for one that was retried before), "replayed": retried before, "refused": why not or null}]}. Keys may be added, none
will change.

Exit code 0: all were retried; 1: some were refused, and it says why; 2: nothing was chosen, or it could not begin.
"""


@dataclass(frozen=True, slots=True)
class Retry:
    """What became of one DEAD task."""

    task_id: str
    wsid: str
    op: str
    retried_by: str | None = None
    replayed: bool = False
    refused: str | None = None


class Command(OperatorCommand):
    """One after the other, each in a transaction of its own."""

    help = "Try DEAD tasks anew, chosen by id, or by operation, workspace and age."
    epilog = _EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        """See the help."""
        parser.add_argument("task_ids", nargs="*", metavar="TASK_ID", help="these tasks")
        parser.add_argument("--op", choices=Op.values, help="DEAD tasks of this operation")
        parser.add_argument("--wsid", help="DEAD tasks of this workspace")
        parser.add_argument("--older-than", type=duration, metavar="DURATION", help="that ended longer ago than this")
        parser.add_argument("--newer-than", type=duration, metavar="DURATION", help="that ended within this time")
        parser.add_argument("--all", action="store_true", help="every DEAD task")
        parser.add_argument(
            "--dry-run", action="store_true", help="retry nothing, say what would be retried or refused"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        """Choose, retry, say."""
        with answering():
            chosen = _chosen(options)
            retries = list(self._shown(chosen, options))
        if options["json"]:
            self.stdout.write(json.dumps({"dry_run": options["dry_run"], "tasks": [asdict(each) for each in retries]}))
        elif not retries:
            self.stdout.write("no DEAD task was chosen")
        refused = sum(each.refused is not None for each in retries)
        if refused:
            raise CommandError(f"{refused} of {len(retries)} were refused", returncode=1)

    def _shown(self, task_ids: list[str], options: dict[str, Any]) -> Iterator[Retry]:
        for task_id in self.progress(task_ids, "tasks"):
            retry = _retry(task_id, dry_run=options["dry_run"])
            if not options["json"]:
                self.stdout.write(_line(retry, dry_run=options["dry_run"]))
            yield retry


def _chosen(options: dict[str, Any]) -> list[str]:
    """In the order in which they were accepted. Raises CommandError where nobody said which."""
    filters = [options[name] for name in ("op", "wsid", "older_than", "newer_than")]
    if options["task_ids"]:
        if options["all"] or any(filters):
            raise CommandError("either task ids, or --op, --wsid, --older-than, --newer-than", returncode=CANNOT_BEGIN)
        return list(dict.fromkeys(options["task_ids"]))
    if not options["all"] and not any(filters):
        raise CommandError(
            "say which: task ids, --op, --wsid, --older-than, --newer-than or --all", returncode=CANNOT_BEGIN
        )
    dead = Task.objects.dead(older_than=options["older_than"], newer_than=options["newer_than"])
    chosen = dead.matching(op=options["op"], wsid=options["wsid"]).in_order()
    return list(chosen.values_list("pk", flat=True))


def _retry(task_id: str, *, dry_run: bool) -> Retry:
    task = Task.objects.filter(pk=task_id).only("workspace_id", "op").first()
    wsid, op = (task.workspace_id, task.op) if task else ("", "")
    try:
        with transaction.atomic():
            accepted = retry_dead_task(task_id=task_id, actor=Actor.this_process("command"))
            if dry_run:
                transaction.set_rollback(True)
    except WvsError as error:
        return Retry(task_id, wsid, op, refused=f"{error.code.code}: {error.message}")
    new = accepted.task.task_id if accepted.replayed or not dry_run else None
    return Retry(task_id, wsid, op, retried_by=new, replayed=accepted.replayed)


def _line(retry: Retry, *, dry_run: bool) -> str:
    if retry.refused is not None:
        said = f"refused: {retry.refused}"
    elif retry.replayed:
        said = f"was retried before: {retry.retried_by}"
    else:
        said = "would be retried" if dry_run else f"retried by {retry.retried_by}"
    return f"{retry.task_id}  {retry.op or '-'}  {retry.wsid or '-'}  {said}"

"""`manage.py detach_agent`: an agent lock that nobody answers for is taken away, once (SPEC §8, §9)."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from executor.upkeep import AgentSeen, Detached, DetachOutcome
from tasks.agents import attached_agent, detach_agent
from tasks.audit import Actor
from tasks.management.operator import CANNOT_BEGIN, OperatorCommand, tools_for
from wvs_project.errors import ErrorCode, WvsError

_EPILOG: Final = """
When snapshots and switches of a workspace end with QUIESCE_TIMEOUT, somebody holds its agent lock and does not answer:
an agent that hangs, a program that it left behind, or a lock that a mount forgot to free when it was killed. Look at
the agent first; if it is beyond help, end it, and if the lock is still taken, take it away:

  manage.py detach_agent first --dry-run           who seems to hold it
  manage.py detach_agent first                     the same, then asks, then takes it away
  manage.py detach_agent first --yes --json

The agent is asked to stand still a last time. If it answers, it keeps its lock and goes on. If it does not, whatever it
still writes is in no way held off until it attaches again: the proof of quiet refuses snapshots of a moving tree, and a
switch leaves what it writes in the old tree.

JSON: {"wsid", "dry_run", "agent": {"attached", "agent_id", "state", "current", "old_handles", "updated_at"}, "outcome":
"detached" | "answers" | "nobody" | null in a dry run}. Keys may be added, none will change.

Exit code 0: detached, nobody was attached, or a dry run; 1: the agent answers, or a task runs; 2: it could not begin.
"""
_SAID: Final = {
    DetachOutcome.DETACHED: "detached: nobody answered, and the lock is free now",
    DetachOutcome.NOBODY: "nobody is attached: nothing was to be done",
    DetachOutcome.ANSWERS: "the agent answers, so it keeps its lock: snapshots and switches work with it",
}


class Command(OperatorCommand):
    """Show who holds it, ask, take it away."""

    help = "Take a workspace's agent lock from a holder that does not answer."
    epilog = _EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        """See the help."""
        parser.add_argument("wsid", help="the workspace")
        parser.add_argument("--dry-run", action="store_true", help="only say who seems to hold the lock")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        """See the help."""
        wsid, dry_run = options["wsid"], options["dry_run"]
        try:
            with tools_for("wvs-detach") as tools:
                seen = attached_agent(tools=tools, wsid=wsid)
                if not options["json"]:
                    self.stdout.write(_line(wsid, seen))
                if not dry_run and not options["yes"]:
                    _ask(wsid)
                actor = Actor.this_process("command")
                detached = None if dry_run else detach_agent(tools=tools, wsid=wsid, actor=actor)
        except WvsError as error:
            begun = error.code is not ErrorCode.NOT_FOUND
            raise CommandError(f"{error.code.code}: {error}", returncode=1 if begun else CANNOT_BEGIN) from None
        self._conclude(wsid, seen, detached, as_json=options["json"])

    def _conclude(self, wsid: str, seen: AgentSeen, detached: Detached | None, *, as_json: bool) -> None:
        outcome = None if detached is None else detached.outcome
        if as_json:
            said = {"wsid": wsid, "dry_run": outcome is None, "agent": asdict(seen), "outcome": outcome}
            self.stdout.write(json.dumps(said))
        elif outcome is not None:
            self.stdout.write(_SAID[outcome])
        if outcome is DetachOutcome.ANSWERS:
            raise CommandError("not detached", returncode=1)


def _ask(wsid: str) -> None:
    """Raises CommandError unless somebody at a terminal says yes."""
    if not sys.stdin.isatty():
        raise CommandError("nobody is there to be asked: give --yes", returncode=CANNOT_BEGIN)
    if input(f"Take the agent lock of {wsid} away from whoever holds it, unless it answers? [y/N] ").lower() != "y":
        raise CommandError("nothing was done", returncode=1)


def _line(wsid: str, seen: AgentSeen) -> str:
    if not seen.attached:
        return f"{wsid}: nobody is attached" + (f"; the last one was {seen.agent_id}" if seen.agent_id else "")
    who = (
        f"{seen.agent_id}, which said {seen.state} at {seen.updated_at}"
        if seen.agent_id
        else "somebody who said nothing"
    )
    handles = "".join(f"\n  still open in an old tree: {handle}" for handle in seen.old_handles)
    return f"{wsid}: the agent lock is held; the last answer is of {who}{handles}"

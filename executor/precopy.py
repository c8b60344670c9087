"""Pre-copy: the snapshot is made while the agent runs, and corrected while it stands still (SPEC §7).

As in live migration: look, clone, look again and bring over what changed, all while the agent runs; then, in the
freeze, look once more and bring over what changed since. What the copy holds is believed on evidence only (`delta.py`).
Where the evidence cannot be had, `catch_up` says so, and the caller clones in the freeze instead:

- the agent answered through another mount, or nobody did. Its clock, and its changes of extended attributes, are
  unknown to this mount then (docs/adr/0014);
- somebody changed extended attributes through this mount meanwhile, and the volume keeps no time of that;
- so much changed that a clone is faster, or something could not be brought over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from executor import failpoints, survey, tree
from executor.attempt import Attempt
from executor.bring import Bringer
from executor.clone.copy import flush
from executor.contract import ExecutorFault, FaultReason
from executor.delta import Copied, Plan
from executor.faults import FULL
from executor.fence import Held
from executor.survey import Survey
from executor.witness import Witness
from wvs_agent import protocol
from wvs_agent.protocol import AgentLock, FileWatch

_log = structlog.get_logger(__name__)
_ROUNDS: Final = 2
"""How often what changed is brought over before the freeze, unless a round finds next to nothing."""
_LITTLE: Final = 16
_SMALL: Final = 256
_SHARE: Final = 8
"""A clone is faster than bringing over more than an eighth of the entries one by one."""
_WITNESS_SECONDS: Final = 2.0
_FATAL: Final = frozenset({FaultReason.NO_SPACE, FaultReason.FENCED})


@contextmanager
def started(attempt: Attempt, held: Held, source: Path, staging: Path, copy: Path) -> Iterator[Precopy | None]:
    """A copy made while the agent runs, or None: nobody is attached who could be spared, or it did not work.

    `copy` must not exist; it does not after None either. Raises ExecutorFault (NO_SPACE, FENCED), Stopped.
    """
    with ExitStack() as stack:
        precopy = None
        if attempt.config.precopy and _is_attached(attempt):
            with attempt.timed("precopy"):
                precopy = _begin(stack, attempt, held, source, staging, copy)
        if precopy is None and os.path.lexists(copy):
            move_away(copy, staging)
        yield precopy


@dataclass(slots=True)
class Precopy:
    """A copy of a source that moves, and what is known of it."""

    held: Held
    attempt: Attempt
    bringer: Bringer
    copied: Copied
    witness: Witness
    xattr_changes: object
    """As it was before the first look."""
    agent_id: str
    """Who was attached before the first look."""

    def look(self) -> Survey:
        """At the source, which stands still."""
        return _look_again(self.bringer, self.copied, self.held, moving=False)

    def catch_up(self, now: Survey, agent_id: str | None) -> bool:
        """Make the copy what the source is, standing still since before the look `now`; False: it cannot be made so.

        `agent_id` is who answered that it stands still.
        After False the copy is good for nothing. Raises ExecutorFault (NO_SPACE, FENCED), Stopped, OSError (disk full).
        """
        why = self._why_not(now, agent_id)
        if why is None:
            plan = self.copied.plan(now)
            if _is_much(plan, now):
                why = f"{plan.cost} of {now.entries} entries changed"
            else:
                try:
                    self.bringer.bring(plan, moving=False)
                except OSError as error:
                    if error.errno in FULL:
                        raise
                    why = str(error)
        if why is not None:
            _log.info("precopy.abandoned", why=why)
        return why is None

    def finish(self) -> None:
        """After the freeze: owners, modes and times of what was brought over; then everything is durable."""
        self.bringer.finish(directories=True)
        flush(self.bringer.copy)

    def _why_not(self, now: Survey, agent_id: str | None) -> str | None:
        if agent_id != self.agent_id:
            return "another agent attached meanwhile, or nobody is there"
        if not self.witness.watches:
            return "nobody could watch: no inotify instance is left (fs.inotify.max_user_instances)"
        if not self.witness.saw():
            self.attempt.elsewhere.add(self.attempt.ws.wsid, self.agent_id)
            return "the agent did not answer through this mount"
        if self.attempt.driver.xattr_changes() != self.xattr_changes:
            return "extended attributes were changed on this mount"
        if (now.root.dev, now.root.ino) != (self.copied.base.root.dev, self.copied.base.root.ino):
            return "the tree was replaced"
        return None


def _approach(attempt: Attempt, held: Held, bringer: Bringer, copied: Copied) -> Copied:
    """Bring over what changed meanwhile, while the agent goes on; the answer is what the copy is then."""
    filled = bool(copied.claims[b""])
    for _ in range(_ROUNDS):
        now = _look_again(bringer, copied, held, moving=True) if filled else copied.base
        plan = copied.plan(now)
        if filled and _is_much(plan, now):
            break
        failed = bringer.bring(plan, moving=True)
        bringer.finish(directories=False)
        copied = copied.brought_to(now, failed)
        failpoints.hit("create.brought")
        if filled and plan.cost <= _LITTLE:
            break
        filled = True
    return copied


def _look_again(bringer: Bringer, copied: Copied, held: Held, *, moving: bool) -> Survey:
    base = copied.base
    return survey.look(bringer.source, xattrs=base.with_xattrs, check=held.check, known=base, moving=moving)


def _is_attached(attempt: Attempt) -> bool:
    lock = AgentLock(attempt.ws.agent_lock)
    try:
        return not lock.try_acquire()
    finally:
        lock.close()


def _watch(attempt: Attempt) -> Witness:
    """One that watches, if there is one to be had soon: others give theirs back within milliseconds."""
    until = time.monotonic() + _WITNESS_SECONDS
    while not (witness := Witness(attempt.ws.agent_file)).watches and time.monotonic() < until:
        attempt.stop.wait(0.02)
        attempt.stop.check()
    return witness


def _agent_of(attempt: Attempt) -> str | None:
    """The name of who is attached, as it said itself when it attached."""
    with FileWatch(attempt.ws.agent_file) as watch:
        watch.refresh()
    status = protocol.read_agent(attempt.ws.agent_file)
    return status.agent_id if status else None


def _begin(stack: ExitStack, attempt: Attempt, held: Held, source: Path, staging: Path, copy: Path) -> Precopy | None:
    agent, changes = _agent_of(attempt), attempt.driver.xattr_changes()
    if agent is None or changes is None or attempt.elsewhere.has(attempt.ws.wsid, agent):
        return None
    try:
        with ExitStack() as opened:
            origin = opened.enter_context(tree.open_root(source))
            first = survey.look(origin, xattrs=attempt.scans_xattrs, check=held.check, moving=True)
            failpoints.hit("create.looked")
            copied = _copy(attempt, held, source, copy, first)
            failpoints.hit("create.copied")
            target = opened.enter_context(tree.open_root(copy))
            bringer = Bringer(origin, target, staging / "tree", attempt.driver.fill, held.check, first.with_xattrs)
            bringer.unfinished[b""] = first.root
            copied = _approach(attempt, held, bringer, copied)
            witness = _watch(attempt)
            opened.callback(witness.close)
            stack.push(opened.pop_all())
            return Precopy(held, attempt, bringer, copied, witness, changes, agent)
    except (OSError, ExecutorFault) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        if isinstance(error, ExecutorFault) and error.reason in _FATAL:
            raise
        _log.info("precopy.failed", error=str(error))
        return None


def _copy(attempt: Attempt, held: Held, source: Path, copy: Path, first: Survey) -> Copied:
    """A whole clone where that is one command; else an empty directory, which is filled one by one.

    A few entries are brought over sooner than the command has started.
    """
    if not attempt.driver.clones_trees or first.entries <= _LITTLE:
        copy.mkdir(mode=0o700)
        return Copied.nothing(first)
    counting = attempt.counting(first.entries)
    attempt.driver.clone(source, copy, held=held, stop=attempt.stop, progress=counting)
    with tree.open_root(copy) as target:
        made = survey.look(target, xattrs=first.with_xattrs, check=held.check)
    return Copied.cloned(first, made)


def _is_much(plan: Plan, now: Survey) -> bool:
    return plan.cost > max(_SMALL, now.entries // _SHARE)


def move_away(copy: Path, staging: Path) -> None:
    """To where the staging's end deletes it; a clone that was killed may still land things there."""
    away = staging / "tree"
    away.mkdir(mode=0o700, exist_ok=True)
    copy.rename(away / "precopy")

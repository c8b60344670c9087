"""set_current: a new live tree from a snapshot; the agent stands still for the switch alone (SPEC §7)."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from executor import contract, descriptor, failpoints, manifest, switch, tree
from executor.attempt import Attempt
from executor.config import SWITCH_MARGIN
from executor.contract import AgentReport, ExecutorFault, FaultReason, Outcome, Stopped
from executor.descriptor import Descriptor
from executor.fence import Held
from executor.layout import WorkspaceLayout, snapshot_tree

_log = structlog.get_logger(__name__)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def run(attempt: Attempt) -> Outcome:
    """Clone while the agent runs, then freeze, publish by rename, switch `current`, resume. The old tree stays."""
    ws = attempt.ws
    live_id = contract.live_id_for(attempt.request.task_id)
    live = ws.live(live_id)
    with attempt.holding() as held:
        done = published(attempt)
        if done is not None:
            return done
        with attempt.staged(held) as staging:
            staged = staging / "live"
            described = _described(attempt)
            # An earlier attempt of this very task may have published the tree and died before the switch.
            ready = tree.is_real_directory(live) and _differs(attempt, held, live, described) is None
            if not ready:
                _clone(attempt, held, staged, described)
            failpoints.hit("set_current.cloned")
            agent = _switch_in_freeze(attempt, held, staged=None if ready else staged, live=live)
            failpoints.hit("set_current.resumed")
        switched_at = _switched_at(ws)
    return Outcome(
        live_id=live_id,
        clone_driver=attempt.driver.name,
        switched_at=switched_at,
        agent=agent,
        timings=attempt.timings,
    )


def published(attempt: Attempt) -> Outcome | None:
    """Whether `current` points at this task's own tree."""
    live_id = contract.live_id_for(attempt.request.task_id)
    if switch.read_current(attempt.ws) != attempt.ws.link_target(live_id):
        return None
    if not tree.is_real_directory(attempt.ws.live(live_id)):
        return None
    return Outcome(live_id=live_id, switched_at=_switched_at(attempt.ws), already_done=True)


def _switched_at(ws: WorkspaceLayout) -> str:
    """When `current` was made, right before the rename that switched; the same for whoever looks later."""
    made = _EPOCH + timedelta(microseconds=ws.current.lstat().st_mtime_ns // 1000)
    return made.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _described(attempt: Attempt) -> Descriptor:
    ws, request = attempt.ws, attempt.request
    snapshot = ws.snapshot(request.snapshot_id)
    found = descriptor.read(snapshot, wsid=request.wsid, snapshot_id=snapshot.name)
    if found is None:
        raise ExecutorFault(FaultReason.SNAPSHOT_MISSING, f"{snapshot} is not a complete snapshot")
    return found


def _clone(attempt: Attempt, held: Held, staged: Path, described: Descriptor) -> None:
    """The snapshot's tree in staging. Raises CLONE_FAILED if it is not what the snapshot was when it was made."""
    source = snapshot_tree(attempt.ws.snapshot(attempt.request.snapshot_id))
    with attempt.timed("clone"):
        attempt.driver.clone(source, staged, held=held, stop=attempt.stop, progress=attempt.counting(described.entries))
    failpoints.hit("set_current.copied")
    differs = _differs(attempt, held, staged, described)
    if differs is not None:
        raise ExecutorFault(FaultReason.CLONE_FAILED, differs)


def _differs(attempt: Attempt, held: Held, copy: Path, described: Descriptor) -> str | None:
    """None if the copy is what the descriptor says, or nobody wants to know; else what is wrong, for people."""
    if not attempt.verifies:
        return None
    with_xattrs = manifest.digest_has_xattrs(described.manifest_digest)
    with attempt.timed("verify"):
        digest = manifest.scan(copy, xattrs=with_xattrs, check=held.check).digest
    if digest == described.manifest_digest:
        return None
    return f"{copy.name} has manifest {digest}, the snapshot {described.manifest_digest}"


def _switch_in_freeze(attempt: Attempt, held: Held, *, staged: Path | None, live: Path) -> AgentReport:
    ws = attempt.ws
    with attempt.frozen(held) as quiet, attempt.timed("switch"):
        failpoints.hit("set_current.frozen")
        held.check(force=True)
        if staged is not None:
            switch.publish(staged, live, displaced=attempt.staging / "displaced")
        try:
            failpoints.hit("set_current.published")
            quiet.check(margin=SWITCH_MARGIN)
            attempt.may_publish(held)
        except (ExecutorFault, Stopped):
            # It is not switched to, so it goes: nobody but a killed attempt leaves a tree behind.
            with contextlib.suppress(OSError):
                switch.move(live, attempt.staging / "live")
            raise
        switch.point_current(ws, ws.link_target(live.name), staging=attempt.staging)
        failpoints.hit("set_current.switched")
    _log.info("current.switched", live_id=live.name, snapshot_id=attempt.request.snapshot_id)
    return quiet.report

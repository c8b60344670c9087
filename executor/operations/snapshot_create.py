"""snapshot_create: a complete, durable, unchanged copy of what the agent had at one moment (SPEC §7, §8)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from executor import descriptor, failpoints, manifest, precopy, survey, switch, tree
from executor.attempt import Attempt
from executor.contract import AgentReport, ExecutorFault, FaultReason, Outcome
from executor.descriptor import Descriptor
from executor.fence import Held
from executor.freeze import Freeze
from executor.layout import snapshot_tree
from executor.manifest import Manifest
from executor.precopy import Precopy
from executor.survey import Survey

_log = structlog.get_logger(__name__)
_MOVED: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO})


def run(attempt: Attempt) -> Outcome:
    """Pre-copy; freeze, look (B), bring over or clone, look again (C must equal B), resume, compare with B, publish."""
    ws, request = attempt.ws, attempt.request
    with attempt.holding() as held:
        done = published(attempt)
        if done is not None:
            return done
        source = _source(attempt)
        with attempt.staged(held) as staging:
            item = staging / "snapshot"
            item.mkdir(mode=0o700)
            failpoints.hit("create.staged")
            kept, agent = _copy(attempt, held, source, staging)
            failpoints.hit("create.verified")
            described = _describe(attempt, kept)
            descriptor.write(item, described)
            descriptor.fsync_directory(item)
            failpoints.hit("create.described")
            attempt.may_publish(held)
            switch.publish(item, ws.snapshot(request.snapshot_id), displaced=staging / "displaced")
            _log.info(
                "snapshot.published",
                snapshot_id=request.snapshot_id,
                entries=described.entries,
                bytes=described.bytes,
                driver=described.clone_driver,
            )
            failpoints.hit("create.published")
    return _outcome(described, attempt=attempt, agent=agent)


def published(attempt: Attempt) -> Outcome | None:
    """Whether this task's snapshot is complete in its place. Raises UNSAFE_PATH if another task's is (G10)."""
    place = attempt.ws.snapshot(attempt.request.snapshot_id)
    found = descriptor.read(place, wsid=attempt.request.wsid, snapshot_id=place.name)
    if found is None:
        return None
    if found.task_id != attempt.request.task_id:
        raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{place} is the snapshot of {found.task_id}, and stays")
    return _outcome(found, already_done=True)


def _source(attempt: Attempt) -> Path:
    """The live tree that the row names. Raises DRIFT if `current` points elsewhere, UNSAFE_PATH if it is no tree."""
    ws, request = attempt.ws, attempt.request
    source, target = ws.live(request.source_live_id), switch.read_current(ws)
    if target != ws.link_target(request.source_live_id):
        raise ExecutorFault(FaultReason.DRIFT, f"current points at {target!r}, the row names {request.source_live_id}")
    if not tree.is_real_directory(source):
        raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{source} is not a directory")
    return source


def _copy(attempt: Attempt, held: Held, source: Path, staging: Path) -> tuple[Manifest, AgentReport]:
    """The tree in staging as the source was while it stood still, and what was seen of the agent."""
    copy = snapshot_tree(staging / "snapshot")
    with precopy.started(attempt, held, source, staging, copy) as early:
        failpoints.hit("create.precopied")
        frozen = _freeze(attempt, held, source, copy, early)
        failpoints.hit("create.resumed")
        if frozen.early is not None:
            with attempt.timed("finish"):
                frozen.early.finish()
        kept, differs = _compare(attempt, held, copy, frozen.before)
    if differs is not None and frozen.early is not None:
        # Never seen; but a snapshot that an agent's restlessness could spoil again and again would never be made.
        _log.warning("precopy.differs", error=differs)
        precopy.move_away(copy, staging)
        frozen = _freeze(attempt, held, source, copy, None)
        failpoints.hit("create.resumed")
        kept, differs = _compare(attempt, held, copy, frozen.before)
    if differs is not None:
        raise ExecutorFault(FaultReason.QUIESCE_VIOLATED, f"the clone is not what was frozen: {differs}")
    return kept, frozen.agent


@dataclass(frozen=True, slots=True)
class _Frozen:
    """What a freeze left."""

    before: Survey | None
    """The look B at the source; None if nobody wants to prove anything."""
    early: Precopy | None
    """None: the copy is a clone that was made in the freeze."""
    agent: AgentReport


def _freeze(attempt: Attempt, held: Held, source: Path, copy: Path, early: Precopy | None) -> _Frozen:
    before: Survey | None = None
    with attempt.frozen(held) as quiet, _standing_still():
        with tree.open_root(source) as root:
            failpoints.hit("create.frozen")
            if attempt.verifies or early is not None:
                with attempt.timed("scan"):
                    before = early.look() if early else survey.look(root, xattrs=attempt.scans_xattrs, check=held.check)
            early = _caught_up(attempt, early, before, quiet, copy)
            if early is None:
                with attempt.timed("clone"):
                    counting = attempt.counting(None if before is None else before.entries)
                    attempt.driver.clone(source, copy, held=held, stop=attempt.stop, progress=counting)
            failpoints.hit("create.cloned")
            if before is not None and attempt.verifies:
                with attempt.timed("scan"):
                    moved = survey.changed_since(root, before, check=held.check)
                if moved is not None:
                    raise ExecutorFault(
                        FaultReason.QUIESCE_VIOLATED, f"the tree changed during the freeze: {manifest.change(*moved)}"
                    )
        quiet.check()
    return _Frozen(before if attempt.verifies else None, early, quiet.report)


def _caught_up(
    attempt: Attempt, early: Precopy | None, before: Survey | None, quiet: Freeze, copy: Path
) -> Precopy | None:
    """The pre-copy, which is now what the source is, or None: then nothing is in its place."""
    if early is None or before is None:
        return None
    with attempt.timed("delta"):
        if early.catch_up(before, quiet.report.agent_id):
            return early
        precopy.move_away(copy, attempt.staging)
    return None


@contextmanager
def _standing_still() -> Iterator[None]:
    """What vanishes, or becomes something else, while it is looked at was not standing still."""
    try:
        yield
    except OSError as error:
        if error.errno not in _MOVED:
            raise
        raise ExecutorFault(FaultReason.QUIESCE_VIOLATED, f"the tree changed during the freeze: {error}") from error


def _compare(attempt: Attempt, held: Held, copy: Path, before: Survey | None) -> tuple[Manifest, str | None]:
    """What the copy holds, and how it differs from what the source held while it stood still, for people."""
    with attempt.timed("verify"):
        kept = manifest.scan(copy, xattrs=attempt.scans_xattrs, check=held.check)
        return kept, None if before is None else kept.is_clone_of(manifest.of_survey(before))


def _describe(attempt: Attempt, kept: Manifest) -> Descriptor:
    request = attempt.request
    assert request.snapshot_id is not None
    assert request.source_live_id is not None
    return Descriptor(
        version=descriptor.VERSION,
        wvs_version=descriptor.WVS_VERSION,
        snapshot_id=request.snapshot_id,
        wsid=request.wsid,
        task_id=request.task_id,
        fence=request.fence,
        created_at=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        message=request.message,
        entries=kept.entries,
        bytes=kept.bytes,
        source_live_id=request.source_live_id,
        manifest_digest=kept.digest,
        clone_driver=attempt.driver.name,
    )


def _outcome(
    found: Descriptor, *, attempt: Attempt | None = None, agent: AgentReport | None = None, already_done: bool = False
) -> Outcome:
    return Outcome(
        entries=found.entries,
        bytes=found.bytes,
        manifest_digest=found.manifest_digest,
        clone_driver=found.clone_driver,
        already_done=already_done,
        agent=agent,
        timings=attempt.timings if attempt else {},
    )

"""snapshot_create: a complete, durable, unchanged copy of what the agent had at one moment (SPEC §7, §8)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from executor import descriptor, failpoints, manifest, switch, tree
from executor.attempt import Attempt
from executor.contract import AgentReport, ExecutorFault, FaultReason, Outcome
from executor.descriptor import Descriptor
from executor.fence import Held
from executor.freeze import freeze
from executor.layout import snapshot_tree
from executor.manifest import Manifest

_MOVED: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO})


def run(attempt: Attempt) -> Outcome:
    """Freeze, look (B), clone, look again (C must equal B), resume, compare the clone with B, publish."""
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
            before, agent = _clone_in_freeze(attempt, held, source, snapshot_tree(item))
            failpoints.hit("create.resumed")
            kept = _verified(attempt, held, snapshot_tree(item), before)
            failpoints.hit("create.verified")
            described = _describe(attempt, kept)
            descriptor.write(item, described)
            descriptor.fsync_directory(item)
            failpoints.hit("create.described")
            attempt.may_publish(held)
            switch.publish(item, ws.snapshot(request.snapshot_id), displaced=staging / "displaced")
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


def _clone_in_freeze(attempt: Attempt, held: Held, source: Path, copy: Path) -> tuple[Manifest | None, AgentReport]:
    before: Manifest | None = None
    with freeze(attempt.ws, attempt.request, attempt.config, attempt.stop) as quiet, _standing_still():
        failpoints.hit("create.frozen")
        if attempt.verifies:
            with attempt.timed("scan"):
                before = _scan(attempt, held, source)
        with attempt.timed("clone"):
            counting = attempt.counting(None if before is None else before.entries)
            attempt.driver.clone(source, copy, held=held, stop=attempt.stop, progress=counting)
        failpoints.hit("create.cloned")
        if before is not None:
            with attempt.timed("scan"):
                moved = _scan(attempt, held, source).unchanged_since(before)
            if moved is not None:
                raise ExecutorFault(FaultReason.QUIESCE_VIOLATED, f"the tree changed during the freeze: {moved}")
        quiet.check()
    return before, quiet.report


@contextmanager
def _standing_still() -> Iterator[None]:
    """What vanishes, or becomes something else, while it is looked at was not standing still."""
    try:
        yield
    except OSError as error:
        if error.errno not in _MOVED:
            raise
        raise ExecutorFault(FaultReason.QUIESCE_VIOLATED, f"the tree changed during the freeze: {error}") from error


def _scan(attempt: Attempt, held: Held, root: Path) -> Manifest:
    return manifest.scan(root, xattrs=attempt.scans_xattrs, check=held.check)


def _verified(attempt: Attempt, held: Held, copy: Path, before: Manifest | None) -> Manifest:
    """What the clone holds; it must be what the source held while it stood still."""
    with attempt.timed("verify"):
        kept = _scan(attempt, held, copy)
    differs = None if before is None else kept.is_clone_of(before)
    if differs is not None:
        raise ExecutorFault(FaultReason.QUIESCE_VIOLATED, f"the clone is not what was frozen: {differs}")
    return kept


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

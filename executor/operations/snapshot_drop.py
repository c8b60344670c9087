"""snapshot_drop: out of its place by one rename, then deleted (SPEC §6, §7)."""

from __future__ import annotations

import structlog

from executor import failpoints
from executor.attempt import Attempt
from executor.contract import FaultReason, Outcome
from executor.descriptor import fsync_directory
from executor.faults import reason_of

_log = structlog.get_logger(__name__)


def run(attempt: Attempt) -> Outcome:
    """The row is marked already. The directory itself becomes this attempt's staging: that needs no space."""
    place = attempt.ws.snapshot(attempt.request.snapshot_id)
    with attempt.holding() as held:
        done = published(attempt)
        if done is not None:
            return done
        attempt.may_publish(held)
        try:
            place.rename(attempt.staging)
            fsync_directory(place.parent)
        except OSError as error:
            if reason_of(error) is FaultReason.UNAVAILABLE:
                raise
            return Outcome(warnings=(f"{place.name} could not be moved away: {error}",))
        _log.info("snapshot.moved_away", snapshot_id=place.name)
        failpoints.hit("drop.moved")
        with attempt.timed("delete"):
            left = attempt.delete(attempt.staging, held, attempt.stop)
        failpoints.hit("drop.deleted")
    return Outcome(timings=attempt.timings, warnings=(left,) if left else ())


def published(attempt: Attempt) -> Outcome | None:
    """Whether nothing is left in its place. Raises OSError if the disk does not say: that is no success."""
    try:
        attempt.ws.snapshot(attempt.request.snapshot_id).lstat()
    except FileNotFoundError:
        return Outcome(already_done=True)
    return None

"""The values of upkeep as messages of proto/wvs/executor/v1, and back; both sides use the same functions.

Names that were found on a disk travel as bytes: a disk knows no encoding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from executor.messages import text_of
from executor.upkeep import (
    AgentSeen,
    Detached,
    DetachOutcome,
    Inventory,
    Purged,
    SnapshotFacts,
    SnapshotOnDisk,
    SweepRequest,
    Swept,
)
from executor.wire import executor_pb2 as pb


def inventory_to_wire(found: Inventory) -> pb.Inventory:
    """What lies on disk of one workspace."""
    return pb.Inventory(
        wsid=found.wsid,
        fence=found.fence,
        current=None if found.current is None else os.fsencode(found.current),
        live=map(os.fsencode, found.live),
        snapshots=[_snapshot_to_wire(snapshot) for snapshot in found.snapshots],
        staging=map(os.fsencode, found.staging),
        freeze_asked=found.freeze_asked,
        strange=map(os.fsencode, found.strange),
    )


def inventory_from_wire(wire: pb.Inventory) -> Inventory:
    """What lies on disk of one workspace."""
    return Inventory(
        wsid=wire.wsid,
        fence=wire.fence,
        current=os.fsdecode(wire.current) if wire.HasField("current") else None,
        live=_names(wire.live),
        snapshots=tuple(_snapshot_from_wire(snapshot) for snapshot in wire.snapshots),
        staging=_names(wire.staging),
        freeze_asked=wire.freeze_asked,
        strange=_names(wire.strange),
    )


def _snapshot_to_wire(snapshot: SnapshotOnDisk) -> pb.SnapshotOnDisk:
    facts = snapshot.facts
    wire = pb.SnapshotOnDisk(name=os.fsencode(snapshot.name))
    if facts is not None:
        wire.facts.CopyFrom(
            pb.SnapshotFacts(
                task_id=facts.task_id,
                fence=facts.fence,
                created_at=facts.created_at,
                message=text_of(facts.message),
                entries=facts.entries,
                bytes=facts.bytes,
                source_live_id=facts.source_live_id,
                manifest_digest=facts.manifest_digest,
                clone_driver=facts.clone_driver,
            )
        )
    return wire


def _snapshot_from_wire(wire: pb.SnapshotOnDisk) -> SnapshotOnDisk:
    name = os.fsdecode(wire.name)
    if not wire.HasField("facts"):
        return SnapshotOnDisk(name)
    fields = {field.name: getattr(wire.facts, field.name) for field in pb.SnapshotFacts.DESCRIPTOR.fields}
    return SnapshotOnDisk(name, SnapshotFacts(**fields))


def sweep_to_wire(request: SweepRequest) -> pb.SweepRequest:
    """What is to go."""
    return pb.SweepRequest(
        wsid=request.wsid,
        fence=request.fence,
        live=map(os.fsencode, request.live),
        snapshots=map(os.fsencode, request.snapshots),
        thaw=request.thaw,
        everything=request.everything,
    )


def sweep_from_wire(wire: pb.SweepRequest) -> SweepRequest:
    """What is to go."""
    return SweepRequest(
        wire.wsid, wire.fence, _names(wire.live), _names(wire.snapshots), thaw=wire.thaw, everything=wire.everything
    )


def swept_to_wire(swept: Swept) -> pb.Swept:
    """What was moved to staging."""
    return pb.Swept(moved=map(os.fsencode, swept.moved), kept=_remainders(swept.kept), thawed=swept.thawed)


def swept_from_wire(wire: pb.Swept) -> Swept:
    """What was moved to staging."""
    return Swept(_names(wire.moved), {os.fsdecode(left.name): left.reason for left in wire.kept}, wire.thawed)


def purged_to_wire(purged: Purged) -> pb.Purged:
    """What was deleted from staging."""
    return pb.Purged(deleted=map(os.fsencode, purged.deleted), left=_remainders(purged.left))


def purged_from_wire(wire: pb.Purged) -> Purged:
    """What was deleted from staging."""
    return Purged(_names(wire.deleted), {os.fsdecode(left.name): left.reason for left in wire.left})


def agent_to_wire(seen: AgentSeen) -> pb.AgentSeen:
    """Who seems to be attached."""
    return pb.AgentSeen(
        attached=seen.attached,
        agent_id=text_of(seen.agent_id),
        state=seen.state,
        current=text_of(seen.current),
        old_handles=map(text_of, seen.old_handles),
        updated_at=text_of(seen.updated_at),
    )


def agent_from_wire(wire: pb.AgentSeen) -> AgentSeen:
    """Who seems to be attached."""
    return AgentSeen(
        wire.attached, wire.agent_id, wire.state, wire.current, tuple(wire.old_handles), updated_at=wire.updated_at
    )


def detached_to_wire(detached: Detached) -> pb.Detached:
    """What became of the lock."""
    return pb.Detached(outcome=detached.outcome.value, agent_id=text_of(detached.agent_id))


def detached_from_wire(wire: pb.Detached) -> Detached:
    """What became of the lock. Raises ValueError for a word that this release does not know."""
    return Detached(DetachOutcome(wire.outcome), wire.agent_id)


def moment_to_wire(at: datetime) -> pb.GetLastWrittenResponse:
    """When something was changed last."""
    answer = pb.GetLastWrittenResponse()
    answer.at.FromDatetime(at)
    return answer


def moment_from_wire(wire: pb.GetLastWrittenResponse) -> datetime:
    """When something was changed last."""
    return wire.at.ToDatetime(tzinfo=UTC)


def _remainders(left: Mapping[str, str]) -> list[pb.Remainder]:
    return [pb.Remainder(name=os.fsencode(name), reason=text_of(reason)) for name, reason in left.items()]


def _names(names: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(map(os.fsdecode, names))

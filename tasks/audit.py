"""The audit trail (SPEC §5): who did what, written in the transaction that does it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tasks.models import AuditEvent

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody or something that acts."""

    type: str
    id: str

    @classmethod
    def this_process(cls, role: str) -> Actor:
        """Who acts when a process of ours does, by itself."""
        return cls(role, f"{socket.gethostname()}:{os.getpid()}")

    def as_json(self) -> dict[str, str]:
        """As it is stored."""
        return {"type": self.type, "id": self.id}


ANONYMOUS: Final = Actor("anonymous", "anonymous")
"""Whoever calls while authentication is off."""


def record(
    *,
    action: str,
    wsid: str,
    actor: Actor,
    request_id: str = "",
    task_id: str | None = None,
    before: Json | None = None,
    after: Json | None = None,
    error: Json | None = None,
) -> None:
    """Append one event. The caller is in the transaction that makes it true."""
    AuditEvent.objects.create(
        action=action,
        wsid=wsid,
        actor=actor.as_json(),
        request_id=request_id,
        task_id=task_id,
        payload={"before": before, "after": after, "error": error},
    )

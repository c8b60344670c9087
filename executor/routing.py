"""Which of many executors serves a workspace (SPEC §7): rendezvous hashing, so that a changed list moves few.

Every worker and scheduler computes the same, and the order of the list says nothing. A workspace that moves while it is
worked on is safe: fence and lock lie on the volume.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def executor_of(wsid: str, addrs: Sequence[str]) -> str:
    """The workspace's own executor. Raises ValueError for an empty list."""
    return max(addrs, key=lambda addr: (_weight(wsid, addr), addr))


def _weight(wsid: str, addr: str) -> bytes:
    return hashlib.blake2b(f"{addr}\0{wsid}".encode(), digest_size=16).digest()

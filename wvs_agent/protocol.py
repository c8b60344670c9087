"""What both sides of the quiesce protocol share (SPEC §8): the two files, the agent lock and the lease.

The executor writes control.json, the agent writes agent.json; each is replaced whole and never edited in place (G4).
Whether an agent is there is decided by flock on agent.lock and by nothing else (G1 to G3). Linux only.
"""

from __future__ import annotations

import datetime
import secrets
import time
from dataclasses import dataclass
from typing import Final

from wvs_agent.documents import (
    MAX_FILE_BYTES,
    AgentState,
    AgentStatus,
    Control,
    ControlState,
    MalformedDocumentError,
    printable,
)
from wvs_agent.files import UnsafeFileError, read_agent, read_control, replace_file, stage_file
from wvs_agent.lock import AgentLock
from wvs_agent.watch import FileWatch

__all__ = [
    "AGENT_DIR",
    "AGENT_FILE",
    "AGENT_LOCK",
    "CONTROL_FILE",
    "CURRENT_WAIT_LIMIT",
    "MAX_FILE_BYTES",
    "RESUME_ANSWER_LIMIT",
    "WVS_DIR",
    "AgentLock",
    "AgentState",
    "AgentStatus",
    "Control",
    "ControlState",
    "FileWatch",
    "Lease",
    "MalformedDocumentError",
    "UnsafeFileError",
    "clock",
    "new_nonce",
    "now_text",
    "printable",
    "read_agent",
    "read_control",
    "replace_file",
    "stage_file",
]

WVS_DIR: Final = ".wvs"
CONTROL_FILE: Final = ".wvs/control.json"
AGENT_LOCK: Final = ".wvs/agent.lock"
AGENT_DIR: Final = ".wvs/agent"
AGENT_FILE: Final = ".wvs/agent/agent.json"

RESUME_ANSWER_LIMIT: Final = 5.0
"""Seconds that the executor waits for RUNNING after REQUEST_RESUME."""
CURRENT_WAIT_LIMIT: Final = 4.5
"""Seconds that the agent waits to see the `current` that REQUEST_RESUME names: within the 5 s of SPEC §8, and less
than the executor waits, so that the answer of an agent which still sees the old one is heard too."""


def clock() -> float:
    """Seconds on this host's own clock for leases. It counts suspended time too, and no one can set it (H5)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def new_nonce() -> str:
    """A nonce that no file of the past can hold."""
    return secrets.token_hex(16)


def now_text() -> str:
    """`updated_at`: UTC, RFC 3339 with microseconds. For people only; nothing is decided by it (H5)."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Lease:
    """A right that ends by itself: `seconds` from `start` on this side's own clock().

    The agent starts it after it read a renewal, the executor before it wrote it: the executor's ends first (SPEC §8).
    """

    start: float
    seconds: float

    def remaining(self) -> float:
        """Seconds left; zero or less when it is over."""
        return self.start + self.seconds - clock()

    def stands(self, *, margin: float = 0.0) -> bool:
        """Whether more than `margin` seconds are left."""
        return self.remaining() > margin

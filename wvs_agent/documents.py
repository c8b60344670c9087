"""The two documents of the quiesce protocol and their strict reading (SPEC §8).

Each side parses what the other may have forged: one set of keys, exact types, bounded text without control characters
(it ends in logs and in a database), no duplicate keys, no surrogates, nothing that makes the parser itself fail.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar

MAX_FILE_BYTES: Final = 64 * 1024
MAX_TEXT: Final = 1024
MAX_OLD_HANDLES: Final = 50
MAX_HANDLE_TEXT: Final = 200
"""Characters of one handle; with four bytes each a full list still fits the file."""
MAX_LEASE_SECONDS: Final = 3600.0
_State = TypeVar("_State", bound=StrEnum)
_MAX_INTEGER: Final = 2**53
_NONCE: Final = re.compile(r"[0-9a-f]{32}")
_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class MalformedDocumentError(ValueError):
    """Not a whole, valid document of this version; it is treated as if it were not there."""


class ControlState(StrEnum):
    """What the executor asks."""

    RUNNING = "RUNNING"
    REQUEST_FREEZE = "REQUEST_FREEZE"
    REQUEST_RESUME = "REQUEST_RESUME"


class AgentState(StrEnum):
    """What the agent answers."""

    RUNNING = "RUNNING"
    FROZEN = "FROZEN"


CONTROL_STATES: Final = tuple(ControlState)
AGENT_STATES: Final = tuple(AgentState)


def printable(text: str) -> str:
    """`text` (a path, maybe of odd bytes) as both sides accept it: valid UTF-8, control characters escaped, cut."""
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8")
    clean = _CONTROL_CHARACTERS.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), clean)
    return clean[:MAX_HANDLE_TEXT]


@dataclass(frozen=True, slots=True)
class Control:
    """control.json: the executor's word."""

    VERSION: ClassVar[int] = 1

    state: ControlState
    nonce: str
    """Fresh for each freeze; empty only in RUNNING, where nothing was asked yet."""
    renewal: int
    """Rises with each renewal of the lease of this nonce."""
    lease_seconds: float
    """How long this renewal is good for, from when the agent saw it, on the agent's own clock."""
    task_id: str
    fence: int
    current: str
    """The target of the symlink `current` as the executor knows it. In REQUEST_RESUME: the one to wait for. In
    REQUEST_FREEZE: where it will point if all goes well, so that an agent may refuse a freeze that ends in a switch."""
    updated_at: str
    """For people."""

    def encode(self) -> bytes:
        """The bytes of the file."""
        return _encode(self, self.VERSION)

    @classmethod
    def parse(cls, data: bytes) -> Control:
        """Raises MalformedDocumentError."""
        fields = _fields(cls, data, cls.VERSION)
        state = _state(ControlState, fields["state"])
        return cls(
            state=state,
            nonce=_nonce(fields["nonce"], may_be_empty=state is ControlState.RUNNING),
            renewal=_integer(fields["renewal"]),
            lease_seconds=_seconds(fields["lease_seconds"]),
            task_id=_text(fields["task_id"]),
            fence=_integer(fields["fence"]),
            current=_text(fields["current"]),
            updated_at=_text(fields["updated_at"]),
        )


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """agent.json: the agent's answer."""

    VERSION: ClassVar[int] = 1

    agent_id: str
    state: AgentState
    nonce: str
    """The freeze it answers; empty only in RUNNING, from an agent that was never asked."""
    renewal: int
    """The last renewal of that nonce that the agent saw: its lease counts from then."""
    current: str
    """What its own readlink(current) said; empty if it could not be read."""
    old_handles: tuple[str, ...]
    """Working directories and files still open in a tree that is not `current` any more."""
    updated_at: str
    """For people."""

    def encode(self) -> bytes:
        """The bytes of the file."""
        return _encode(self, self.VERSION)

    @classmethod
    def parse(cls, data: bytes) -> AgentStatus:
        """Raises MalformedDocumentError."""
        fields = _fields(cls, data, cls.VERSION)
        state = _state(AgentState, fields["state"])
        return cls(
            agent_id=_text(fields["agent_id"]),
            state=state,
            nonce=_nonce(fields["nonce"], may_be_empty=state is AgentState.RUNNING),
            renewal=_integer(fields["renewal"]),
            current=_text(fields["current"]),
            old_handles=_handles(fields["old_handles"]),
            updated_at=_text(fields["updated_at"]),
        )


def _encode(document: Control | AgentStatus, version: int) -> bytes:
    return json.dumps({"version": version, **dataclasses.asdict(document)}, ensure_ascii=False).encode("utf-8") + b"\n"


def _fields(kind: type[Control | AgentStatus], data: bytes, version: int) -> Mapping[str, Any]:
    """The members of the document, whose names and version are checked; the values are not yet."""
    if len(data) > MAX_FILE_BYTES:
        raise MalformedDocumentError(f"more than {MAX_FILE_BYTES} bytes")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedDocumentError(str(error)) from error
    if not isinstance(value, dict):
        raise MalformedDocumentError("not an object")
    if type(value.get("version")) is not int or value["version"] != version:
        raise MalformedDocumentError("another version")
    expected = {field.name for field in dataclasses.fields(kind)} | {"version"}
    if value.keys() != expected:
        raise MalformedDocumentError(f"keys differ: {sorted(value.keys() ^ expected)[:5]}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedDocumentError("a key is there twice")
    return found


def _no_constant(name: str) -> None:
    raise MalformedDocumentError(f"{name} is not JSON")


def _state(states: type[_State], value: object) -> _State:
    if not isinstance(value, str) or value not in set(states):
        raise MalformedDocumentError("unknown state")
    return states(value)


def _nonce(value: object, *, may_be_empty: bool) -> str:
    if not isinstance(value, str) or not (_NONCE.fullmatch(value) or (may_be_empty and value == "")):
        raise MalformedDocumentError("bad nonce")
    return value


def _integer(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_INTEGER:
        raise MalformedDocumentError("not a whole number in range")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_LEASE_SECONDS:
        raise MalformedDocumentError("not a lease")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or _CONTROL_CHARACTERS.search(value):
        raise MalformedDocumentError("bad text")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise MalformedDocumentError("text with a surrogate")
    return value


def _handles(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_OLD_HANDLES:
        raise MalformedDocumentError("bad list")
    return tuple(_text(entry) for entry in value)

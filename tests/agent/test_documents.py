"""The two documents are parsed strictly: what is not whole and valid is as if it were not there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wvs_agent.documents import (
    MAX_FILE_BYTES,
    MAX_HANDLE_TEXT,
    MAX_OLD_HANDLES,
    AgentState,
    AgentStatus,
    Control,
    ControlState,
    MalformedDocumentError,
    printable,
)

NONCE = "0123456789abcdef" * 2
CONTROL: dict[str, Any] = {
    "version": 1,
    "state": "REQUEST_FREEZE",
    "nonce": NONCE,
    "renewal": 3,
    "lease_seconds": 10,
    "task_id": "task-1",
    "fence": 7,
    "current": "live/initial",
    "updated_at": "2026-01-01T00:00:00.000000Z",
}
STATUS: dict[str, Any] = {
    "version": 1,
    "agent_id": "a",
    "state": "FROZEN",
    "nonce": NONCE,
    "renewal": 3,
    "current": "live/initial",
    "old_handles": ["cwd live/initial"],
    "updated_at": "2026-01-01T00:00:00.000000Z",
}


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != key}


BAD_STATUS = {
    "unknown state": STATUS | {"state": "frozen"},
    "state that cannot be hashed": STATUS | {"state": []},
    "frozen without a nonce": STATUS | {"nonce": ""},
    "nonce with a newline": STATUS | {"nonce": NONCE + "\n"},
    "nonce in capitals": STATUS | {"nonce": NONCE.upper()},
    "renewal is a truth value": STATUS | {"renewal": True},
    "renewal is negative": STATUS | {"renewal": -1},
    "renewal is huge": STATUS | {"renewal": 10**30},
    "renewal is a fraction": STATUS | {"renewal": 1.0},
    "version is text": STATUS | {"version": "1"},
    "version is true": STATUS | {"version": True},
    "another version": STATUS | {"version": 2},
    "a key too many": STATUS | {"more": 1},
    "a key missing": without(STATUS, "old_handles"),
    "a zero byte, which no database takes": STATUS | {"current": "live/\x00"},
    "a newline, which ends a log line": STATUS | {"agent_id": "a\nb"},
    "a lone surrogate": STATUS | {"current": "\udc80"},
    "a long text": STATUS | {"agent_id": "a" * 2000},
    "too many handles": STATUS | {"old_handles": ["x"] * (MAX_OLD_HANDLES + 1)},
    "a handle that is no text": STATUS | {"old_handles": [1]},
    "handles that are no list": STATUS | {"old_handles": "cwd"},
}
BAD_BYTES = {
    "empty": b"",
    "half of it": json.dumps(STATUS).encode()[:60],
    "not UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "null": b"null",
    "NaN": json.dumps(STATUS).replace("3", "NaN").encode(),
    "a key twice": json.dumps(STATUS).encode()[:-1] + b', "state": "FROZEN"}',
    "nested without end": b"[" * 60000,
    "a number of 5,000 digits": json.dumps(STATUS | {"renewal": 0}).replace(" 0", " " + "9" * 5000).encode(),
    "two documents": json.dumps(STATUS).encode() * 2,
    "too long": json.dumps(STATUS).encode() + b" " * MAX_FILE_BYTES,
}
BAD_CONTROL = {
    "no lease": CONTROL | {"lease_seconds": 0},
    "a lease without end": CONTROL | {"lease_seconds": 1e9},
    "infinite": CONTROL | {"lease_seconds": 10**400},
    "a lease that is true": CONTROL | {"lease_seconds": True},
    "frozen is no word of the executor's": CONTROL | {"state": "FROZEN"},
    "a request without a nonce": CONTROL | {"nonce": ""},
    "resume without a nonce": CONTROL | {"state": "REQUEST_RESUME", "nonce": ""},
}


def test_a_whole_document_is_read_back_as_it_was_written() -> None:
    status = AgentStatus.parse(json.dumps(STATUS).encode())
    control = Control.parse(json.dumps(CONTROL).encode())
    assert AgentStatus.parse(status.encode()) == status
    assert status.state is AgentState.FROZEN
    assert Control.parse(control.encode()) == control
    assert control.state is ControlState.REQUEST_FREEZE
    assert json.loads(status.encode()) == STATUS
    assert json.loads(control.encode()) == CONTROL


@pytest.mark.rule("G16")
@pytest.mark.parametrize("document", BAD_STATUS.values(), ids=BAD_STATUS.keys())
def test_a_status_that_breaks_one_rule_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(MalformedDocumentError):
        AgentStatus.parse(json.dumps(document).encode())


@pytest.mark.rule("G4")
@pytest.mark.parametrize("data", BAD_BYTES.values(), ids=BAD_BYTES.keys())
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedDocumentError):
        AgentStatus.parse(data)


@pytest.mark.parametrize("document", BAD_CONTROL.values(), ids=BAD_CONTROL.keys())
def test_a_control_that_breaks_one_rule_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(MalformedDocumentError):
        Control.parse(json.dumps(document).encode())


@pytest.mark.rule("G4")
def test_every_beginning_of_a_document_is_refused() -> None:
    data = AgentStatus.parse(json.dumps(STATUS).encode()).encode().rstrip()
    for length in range(len(data)):
        with pytest.raises(MalformedDocumentError):
            AgentStatus.parse(data[:length])


def test_the_longest_list_of_the_oddest_paths_fits_the_file() -> None:
    worst = ["\U0001f600" * 1000, '"' * 1000, "\\" * 1000, "\x00\n\x1b" * 300, "\udcff" * 300]
    handles = tuple(printable(worst[i % len(worst)]) for i in range(MAX_OLD_HANDLES))
    status = AgentStatus("a", AgentState.RUNNING, NONCE, 0, "live/initial", handles, "now")
    assert len(status.encode()) <= MAX_FILE_BYTES
    assert AgentStatus.parse(status.encode()) == status
    assert all(len(handle) <= MAX_HANDLE_TEXT for handle in handles)

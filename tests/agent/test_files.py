"""Reading what the other side may have planted, and replacing what is ours."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from wvs_agent import protocol
from wvs_agent.documents import AgentState, AgentStatus
from wvs_agent.files import UnsafeFileError, read_agent, replace_file


def a_status(renewal: int = 0, padding: int = 0) -> AgentStatus:
    handles = ("x" * 150,) * padding
    return AgentStatus("a", AgentState.FROZEN, "a" * 32, renewal, "live/initial", handles, protocol.now_text())


def plant(kind: str, path: Path) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "huge":
        path.write_bytes(a_status().encode())
        os.truncate(path, 1 << 40)
    elif kind == "a byte too long":
        path.write_bytes(a_status().encode().ljust(protocol.MAX_FILE_BYTES + 1))
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        path.with_name("elsewhere").write_bytes(a_status().encode())
        path.symlink_to("elsewhere" if kind == "symlink" else "nowhere")


@pytest.mark.rule("H12")
@pytest.mark.rule("G16")
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "kind", ["fifo", "directory", "huge", "a byte too long", "socket", "symlink", "dangling symlink"]
)
def test_what_is_no_small_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "agent.json"
    plant(kind, path)
    with pytest.raises(UnsafeFileError):
        read_agent(path)


def test_a_file_of_the_greatest_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_bytes(a_status().encode().ljust(protocol.MAX_FILE_BYTES))
    assert read_agent(path) is not None


def test_a_missing_file_is_not_there(tmp_path: Path) -> None:
    assert read_agent(tmp_path / "agent.json") is None
    assert read_agent(tmp_path / "no" / "agent.json") is None


@pytest.mark.rule("G4")
def test_a_reader_sees_one_whole_document_or_the_other_never_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    replace_file(path, a_status().encode())
    done = threading.Event()

    def write() -> None:
        for renewal in range(300):
            replace_file(path, a_status(renewal, padding=(renewal % 2) * 50).encode())
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not done.is_set():
            assert read_agent(path) is not None
    finally:
        writer.join()
    assert [entry.name for entry in tmp_path.iterdir()] == ["agent.json"]


@pytest.mark.rule("G16")
def test_what_was_planted_at_the_temporary_name_is_removed_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / ".agent.json.tmp").symlink_to(victim)
    replace_file(tmp_path / "agent.json", a_status().encode())
    assert victim.read_text() == "untouched"
    assert read_agent(tmp_path / "agent.json") is not None


def test_the_file_has_the_mode_it_shall_have_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "agent.json", b"{}")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "agent.json").stat().st_mode) == 0o644


@pytest.mark.rule("H10")
def test_a_write_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "agent.json"
    replace_file(path, a_status().encode())

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        replace_file(path, a_status(1).encode())
    status = read_agent(path)
    assert status is not None
    assert status.renewal == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["agent.json"]

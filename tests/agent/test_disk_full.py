"""H10: no thaw depends on a write that may fail. A real file system that is full, with a real agent on it."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.contract import ExecutorFault, FaultReason, StopSignal
from executor.freeze import freeze
from executor.layout import WorkspaceLayout
from tests.agent.scene import (
    LIMIT,
    SECOND_LIVE,
    Limits,
    a_task,
    control_of,
    leave_control,
    make_workspace,
    switch,
    wait_for,
)
from wvs_agent import QuiesceWatcher
from wvs_agent.protocol import ControlState

pytestmark = [pytest.mark.root, pytest.mark.rule("H10")]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[WorkspaceLayout]:
    """A workspace on a tmpfs of 64 pages."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "wvs-test", str(place)], check=True)
    try:
        yield make_workspace(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(ws: WorkspaceLayout) -> None:
    fd = os.open(ws.live("initial") / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        with contextlib.suppress(OSError):
            while True:
                os.write(fd, b"x" * 4096)
    finally:
        os.close(fd)


class Heard:
    def __init__(self) -> None:
        self.queue: queue.Queue[str] = queue.Queue()

    def watcher(self, ws: WorkspaceLayout) -> QuiesceWatcher:
        return QuiesceWatcher(ws.root, lambda: self.queue.put("freeze"), lambda _: self.queue.put("resume"))

    def next(self) -> str:
        return self.queue.get(timeout=LIMIT)


def test_a_disk_that_is_full_before_the_freeze_is_no_space_and_nobody_is_frozen(
    small: WorkspaceLayout, stop: StopSignal
) -> None:
    heard = Heard()
    with heard.watcher(small):
        fill(small)
        with pytest.raises(ExecutorFault) as caught, freeze(small, a_task(), Limits(), stop):
            pytest.fail("the gate opened")
    assert caught.value.reason is FaultReason.NO_SPACE
    assert caught.value.permanent
    assert heard.queue.empty()


def test_a_disk_that_fills_in_the_freeze_thaws_the_agent_at_once_by_what_was_put_aside(
    small: WorkspaceLayout, stop: StopSignal
) -> None:
    heard = Heard()
    with heard.watcher(small):
        with freeze(small, a_task(), Limits(freeze_lease=300), stop):
            assert heard.next() == "freeze"
            fill(small)
        assert heard.next() == "resume"
    assert control_of(small).state is ControlState.REQUEST_RESUME


def test_a_disk_that_fills_after_the_switch_thaws_the_agent_when_the_lease_ends(
    small: WorkspaceLayout, stop: StopSignal
) -> None:
    heard = Heard()
    with heard.watcher(small):
        with freeze(small, a_task(), Limits(freeze_lease=1.0), stop) as quiet:
            assert heard.next() == "freeze"
            switch(small, SECOND_LIVE)
            fill(small)
            wait_for(lambda: not renewing(), "the renewer gives up")
        assert control_of(small).state is ControlState.REQUEST_FREEZE
        assert heard.next() == "resume"
        assert quiet.report.resumed is False


def test_a_renewal_that_cannot_be_written_lets_the_lease_end_for_both(small: WorkspaceLayout, stop: StopSignal) -> None:
    heard = Heard()
    with heard.watcher(small):
        with freeze(small, a_task(), Limits(freeze_lease=1.0), stop) as quiet:
            assert heard.next() == "freeze"
            fill(small)
            assert heard.next() == "resume"
            with pytest.raises(ExecutorFault) as caught:
                quiet.check()
            (small.current / "filler").unlink()
        assert caught.value.reason is FaultReason.QUIESCE_EXPIRED


def test_an_agent_can_attach_on_a_full_disk_to_clean_it_up(small: WorkspaceLayout, stop: StopSignal) -> None:
    leave_control(small, ControlState.RUNNING, "")
    fill(small)
    with Heard().watcher(small) as watcher:
        assert watcher.attached
        assert not small.agent_file.exists(), "it could not be written"
        (small.current / "filler").unlink()
    with freeze(small, a_task(), Limits(), stop) as quiet:
        assert not quiet.attached


def renewing() -> bool:
    return any(thread.name == "wvs-freeze-renewer" for thread in threading.enumerate())

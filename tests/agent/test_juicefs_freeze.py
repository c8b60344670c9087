"""The quiesce protocol on real JuiceFS, both sides on one mount and on two."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from executor.contract import StopSignal
from executor.freeze import freeze
from tests.agent.scene import SECOND_LIVE, Limits, Views, a_task, spoken, switch, wait_for
from wvs_agent import QuiesceWatcher, protocol
from wvs_agent.protocol import AgentLock
from wvs_agent.watch import list_directory

pytestmark = pytest.mark.fuse
AGENT = "tests.agent.agent_process"


def attached_program(views: Views) -> QuiesceWatcher:
    return QuiesceWatcher(views.agent_root, lambda: None, lambda _: None, agent_id="embedded")


def test_a_freeze_goes_round_and_nothing_is_written_in_it(views: Views, stop: StopSignal) -> None:
    with spoken(AGENT, views.agent_root) as agent:
        agent.hear("attached")
        for fence in range(1, 6):
            with freeze(views.ws, a_task(fence), Limits(), stop) as quiet:
                frozen = int(agent.hear("frozen").split()[1])
                list_directory(views.ws.current)
                assert (views.ws.current / "log").stat().st_size == frozen
                quiet.check(margin=1.0)
            agent.hear("resumed live/initial")
            assert quiet.report.resumed is True


@pytest.mark.rule("H6")
def test_after_resume_the_agent_sees_the_new_tree(views: Views, stop: StopSignal) -> None:
    seen: list[bytes] = []

    def look(_: str) -> None:
        seen.append((views.agent_root / "current" / "which").read_bytes())

    def peek() -> None:
        (views.agent_root / "current" / "which").read_bytes()  # so that the old one is in every cache

    (views.ws.live("initial") / "which").write_bytes(b"old")
    (views.ws.root / SECOND_LIVE).mkdir()
    (views.ws.root / SECOND_LIVE / "which").write_bytes(b"new")
    with QuiesceWatcher(views.agent_root, peek, look):
        for target, expected in ((SECOND_LIVE, b"new"), ("live/initial", b"old"), (SECOND_LIVE, b"new")):
            with freeze(views.ws, a_task(), Limits(), stop) as quiet:
                switch(views.ws, target)
            assert seen.pop() == expected
            assert quiet.report.resumed is True
            assert quiet.report.current_seen == target


@pytest.mark.rule("H7")
def test_a_handle_left_open_in_the_old_tree_is_reported(views: Views, stop: StopSignal) -> None:
    (views.ws.live("initial") / "file").write_bytes(b"old")
    with (
        attached_program(views),
        (views.agent_root / "current" / "file").open("ab"),
        freeze(views.ws, a_task(), Limits(), stop) as quiet,
    ):
        switch(views.ws)
    assert [handle.split(" ", 2)[2] for handle in quiet.report.old_handles] == ["live/initial/file"]


@pytest.mark.rule("G1")
def test_the_lock_excludes_across_the_mounts_and_dies_with_the_agent(views: Views, stop: StopSignal) -> None:
    with spoken(AGENT, views.agent_root) as agent:
        agent.hear("attached")
        lock = AgentLock(views.ws.agent_lock)
        assert not lock.try_acquire()
        agent.kill()
        wait_for(lock.try_acquire, "the lock of the killed agent is free")
        lock.close()
        with freeze(views.ws, a_task(), Limits(), stop) as quiet:
            assert not quiet.attached


@pytest.mark.rule("H4")
def test_nobody_can_attach_from_the_other_mount_while_the_executor_works(views: Views, stop: StopSignal) -> None:
    newcomer = AgentLock(views.agent_root / protocol.AGENT_LOCK)
    watcher = attached_program(views)
    attaching = threading.Thread(target=watcher.attach)
    with freeze(views.ws, a_task(), Limits(), stop) as quiet:
        attaching.start()
        assert not quiet.attached
        assert not newcomer.try_acquire()
        assert attaching.is_alive()
    attaching.join()
    assert watcher.attached
    watcher.detach()
    newcomer.close()


@pytest.mark.rule("H6")
def test_an_agent_that_attaches_after_a_switch_begins_in_the_new_tree(views: Views, stop: StopSignal) -> None:
    for target in (SECOND_LIVE, "live/initial", SECOND_LIVE):
        (views.agent_root / "current").readlink()  # so that the old one is in every cache
        with freeze(views.ws, a_task(), Limits(), stop) as quiet:
            assert not quiet.attached
            switch(views.ws, target)
        with attached_program(views):
            assert str((views.agent_root / "current").readlink()) == target


@pytest.mark.rule("H5")
def test_renewals_are_echoed_across_the_mounts(views: Views, stop: StopSignal) -> None:
    with attached_program(views), freeze(views.ws, a_task(), Limits(freeze_lease=2.0), stop) as quiet:
        for renewal in (1, 2, 3, 4):

            def echoed(expected: int = renewal) -> bool:
                list_directory(views.ws.agent_file.parent)
                status = protocol.read_agent(views.ws.agent_file)
                return status is not None and status.renewal >= expected

            wait_for(echoed, f"renewal {renewal} is echoed")
            quiet.check(margin=0.5)


@pytest.mark.rule("H1")
def test_what_was_written_up_to_the_freeze_is_seen_by_the_executor(views: Views, stop: StopSignal) -> None:
    path = views.agent_root / "current" / "open"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    written = b""
    try:

        def last_words() -> None:
            nonlocal written
            for _ in range(50):
                piece = os.urandom(977)
                written += piece
                os.write(fd, piece)

        with QuiesceWatcher(views.agent_root, last_words, lambda _: None):
            for _ in range(3):
                with freeze(views.ws, a_task(), Limits(), stop):
                    assert read_fresh(views.ws.current / "open") == written
    finally:
        os.close(fd)


def read_fresh(path: Path) -> bytes:
    list_directory(path.parent)
    path.lstat()
    return path.read_bytes()

"""A full volume: the task ends NO_SPACE, at once and for good; staging is gone, the agent goes on (H10)."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.contract import ExecuteTask, ExecutorFault, FaultReason
from tests.executor.conftest import SMALL_VOLUME_ENTRIES
from tests.executor.scene import LIMIT, Site
from tests.executor.trees import portrait
from wvs_agent import QuiesceWatcher

pytestmark = [pytest.mark.rule("H10"), pytest.mark.root]


def plant(tree: Path, *, share: float) -> None:
    """Entries that take that share of the volume."""
    for number in range(int(SMALL_VOLUME_ENTRIES * share)):
        (tree / f"file-{number:03}").write_bytes(b"x" * 4096)


def fill(directory: Path) -> None:
    """Not one more file, not one more byte."""
    with contextlib.suppress(OSError):
        for number in range(10 * SMALL_VOLUME_ENTRIES):
            (directory / f"filler-{number}").write_bytes(b"x" * 4096)
    with contextlib.suppress(OSError):
        for number in range(10 * SMALL_VOLUME_ENTRIES):
            (directory / f"empty-{number}").touch()
    with pytest.raises(OSError, match=r"No space|quota"):
        (directory / "one more").write_bytes(b"x" * 8192)


def a_create(site: Site, _: str) -> ExecuteTask:
    return site.create_request()


def a_switch(site: Site, snapshot: str) -> ExecuteTask:
    return site.switch_request(snapshot)


@pytest.mark.parametrize("ask", [a_create, a_switch])
@pytest.mark.parametrize("filled", [False, True], ids=["too full for the clone", "full"])
def test_no_space_is_permanent_and_leaves_everything_as_it_was(
    small_site: Site, ask: Callable[[Site, str], ExecuteTask], filled: bool
) -> None:
    site = small_site
    plant(site.init(), share=0.3)
    snapshot = site.snapshot()
    plant(site.tree, share=0.55)
    request = ask(site, snapshot)
    if filled:
        fill(site.tree)
    heard: queue.Queue[str] = queue.Queue()
    before = portrait(site.tree)
    with QuiesceWatcher(site.ws.root, lambda: heard.put("freeze"), lambda _: heard.put("resume")):
        with pytest.raises(ExecutorFault) as caught:
            site.run(request)
        while not heard.empty() and heard.get(timeout=LIMIT) == "freeze":
            assert heard.get(timeout=LIMIT) == "resume"
    assert caught.value.reason is FaultReason.NO_SPACE
    assert caught.value.permanent
    assert not caught.value.outcome_unknown
    assert site.staged == []
    assert (site.snapshots, site.lives, site.live_id) == ([snapshot], ["initial"], "initial")
    assert portrait(site.tree) == before


def test_a_drop_makes_room_on_a_volume_that_is_full(small_site: Site) -> None:
    site = small_site
    plant(site.init(), share=0.3)
    snapshot = site.snapshot()
    fill(site.tree)
    assert site.run(site.drop_request(snapshot)).warnings == ()
    assert site.snapshots == site.staged == []
    (site.tree / "one more").write_bytes(b"x" * 8192)
    assert os.listdir(site.ws.snapshots_dir) == []  # noqa: PTH208

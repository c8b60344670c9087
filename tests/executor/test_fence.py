"""Whoever has the higher fence wins, at once; the older one publishes nothing (SPEC §6, §7; G5, G9)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from executor import failpoints, fence
from executor.contract import ExecuteTask, ExecutorFault, FaultReason, Outcome, StopSignal, live_id_for
from tests.executor.calls import Call
from tests.executor.conftest import MakeSite
from tests.executor.programs import held_up, is_running, open_files
from tests.executor.scene import LIMIT, Site
from tests.executor.trees import plant_small, portrait
from tests.waiting import eventually

by_copy = pytest.mark.parametrize("driver", ["copy"], indirect=True)
by_juicefs = pytest.mark.parametrize("driver", [pytest.param("juicefs", marks=pytest.mark.fuse)], indirect=True)
Ask = Callable[[Site, str], ExecuteTask]


def fenced(outcome: object) -> bool:
    return isinstance(outcome, ExecutorFault) and outcome.reason is FaultReason.FENCED and not outcome.permanent


def raised_to(site: Site, number: int) -> bool:
    return site.ws.fence.read_text().strip() == f"{number:020}"


@pytest.fixture
def planted(site: Site) -> tuple[Site, str]:
    """A workspace with a snapshot."""
    plant_small(site.init())
    return site, site.snapshot()


def test_the_fence_never_goes_down(site: Site) -> None:
    site.init()
    fence.raise_fence(site.ws, 1000)
    fence.raise_fence(site.ws, 1000)
    for lower in (1, 999):
        with pytest.raises(ExecutorFault) as caught:
            fence.raise_fence(site.ws, lower)
        assert fenced(caught.value)
        assert fence.read_fence(site.ws) == 1000
    assert fenced(Call(site.snapshot).outcome())
    assert site.snapshots == site.staged == []


def test_of_many_who_raise_at_once_the_highest_stays(site: Site) -> None:
    site.init()
    gate = threading.Barrier(8)

    def raise_some(first: int) -> None:
        gate.wait()
        for number in range(first, 200, 8):
            with contextlib.suppress(ExecutorFault):
                fence.raise_fence(site.ws, number)

    for call in [Call(partial(raise_some, first)) for first in range(10, 18)]:
        call.result()
    assert fence.read_fence(site.ws) == 199


@pytest.mark.rule("G9")
@by_copy
@pytest.mark.parametrize(
    "point",
    ["create.staged", "create.frozen", "create.cloned", "create.resumed", "create.verified", "create.described"],
)
def test_a_create_that_is_overtaken_at_any_step_publishes_nothing(planted: tuple[Site, str], point: str) -> None:
    site, snapshot = planted
    failpoints.arm(point, lambda: fence.raise_fence(site.ws, 1000))
    assert fenced(Call(site.snapshot).outcome())
    assert site.snapshots == [snapshot]
    assert site.staged == []


@pytest.mark.rule("G9")
@by_copy
@pytest.mark.parametrize(
    "point", ["set_current.copied", "set_current.cloned", "set_current.frozen", "set_current.published"]
)
def test_a_switch_that_is_overtaken_at_any_step_changes_nothing(planted: tuple[Site, str], point: str) -> None:
    site, snapshot = planted
    failpoints.arm(point, lambda: fence.raise_fence(site.ws, 1000))
    assert fenced(Call(lambda: site.switch_to(snapshot)).outcome())
    assert (site.live_id, site.lives, site.staged) == ("initial", ["initial"], [])


@pytest.mark.rule("G9")
@by_copy
def test_an_init_that_is_overtaken_before_it_places_anything_places_nothing(site: Site) -> None:
    failpoints.arm("init.built", lambda: fence.raise_fence(site.ws, 1000))
    assert fenced(Call(site.init).outcome())
    assert not os.path.lexists(site.ws.current)
    assert not site.ws.live_dir.exists()
    assert site.staged == []


@pytest.mark.rule("G5")
@by_copy
def test_an_attempt_that_waits_gives_way_to_a_newer_one(planted: tuple[Site, str]) -> None:
    site, snapshot = planted
    older, newer = site.create_request(), site.create_request()
    with site.ws.lock.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        first = Call(lambda: site.run(older))
        eventually(lambda: raised_to(site, older.fence), "the older one raised the fence")
        second = Call(lambda: site.run(newer))
        assert fenced(first.outcome())
        assert not second.is_over
    second.result()
    assert site.snapshots == sorted([snapshot, newer.snapshot_id or ""])


@pytest.mark.rule("G5")
@pytest.mark.rule("G9")
@pytest.mark.parametrize("point", ["create.frozen", "create.described"])
def test_of_two_processes_the_stale_one_publishes_nothing_and_the_newer_waits_for_it(
    planted: tuple[Site, str], tmp_path: Path, point: str
) -> None:
    site, snapshot = planted
    stale = site.create_request()
    go = tmp_path / "go"
    with site.start(stale, f"{point}=pause:{go}") as process:
        eventually(lambda: site.staged == [f"{stale.task_id}.{stale.fence}"], "the stale one is at work")
        newer, together = site.again(stale), list[bool]()
        failpoints.arm("create.staged", lambda: together.append(str(site.ws.lock) in open_files(process.pid)))
        call = Call(lambda: site.run(newer))
        eventually(lambda: raised_to(site, newer.fence), "the newer one waits")
        assert not call.is_over
        go.touch()
        outcome = call.result()
    assert process.returncode not in (None, 0)
    assert together == [False]
    assert isinstance(outcome, Outcome)
    assert not outcome.already_done
    assert site.snapshots == sorted([snapshot, stale.snapshot_id or ""])
    described = json.loads((site.ws.snapshot(stale.snapshot_id) / ".wvs" / "snapshot.json").read_text())
    assert described["fence"] == newer.fence
    assert portrait(site.snapshot_tree(stale.snapshot_id or "")) == portrait(site.tree)
    assert site.staged == []


@pytest.mark.rule("G5")
@by_juicefs
def test_a_clone_that_runs_is_killed_when_a_newer_attempt_comes(
    make_site: MakeSite, tmp_path: Path, stop: StopSignal
) -> None:
    program = held_up(tmp_path, "sleeping")
    site = make_site(juicefs=program.path)
    plant_small(site.init())
    older = site.create_request()
    first = Call(lambda: site.run(older, stop))
    pid = program.pid
    program.let_go()
    newer = site.again(older)
    outcome = site.run(newer)
    assert fenced(first.outcome())
    assert not is_running(pid)
    assert not outcome.already_done
    assert site.snapshots == [older.snapshot_id]
    assert site.staged == []


def a_create(site: Site, _: str) -> ExecuteTask:
    return site.create_request()


@pytest.mark.rule("G9")
@by_copy
@pytest.mark.parametrize(
    ("ask", "point"),
    [(a_create, "create.described"), (Site.switch_request, "set_current.published"), (a_create, "create.staged")],
)
def test_after_a_probe_said_no_the_older_attempt_cannot_publish_any_more(
    planted: tuple[Site, str], tmp_path: Path, ask: Ask, point: str
) -> None:
    site, snapshot = planted
    older = ask(site, snapshot)
    go = tmp_path / "go"
    with site.start(older, f"{point}=pause:{go}") as process:
        eventually(lambda: f"{older.task_id}.{older.fence}" in site.staged, "the older one is at work")
        probe = site.again(older)
        call = Call(lambda: site.probe(probe))
        eventually(lambda: raised_to(site, probe.fence), "the probe waits")
        go.touch()
        assert process.wait(LIMIT) != 0
    assert call.result() is None
    assert (site.snapshots, site.live_id, site.lives, site.staged) == ([snapshot], "initial", ["initial"], [])


@pytest.mark.rule("G9")
def test_a_probe_says_yes_once_it_is_published_with_the_same_facts(planted: tuple[Site, str]) -> None:
    site, snapshot = planted
    create, switch, drop = site.create_request(), site.switch_request(snapshot), site.drop_request(snapshot)
    for request in (create, switch, drop):
        request = site.again(request)
        assert site.probe(request) is None
        request = site.again(request)
        made = site.run(request)
        found = site.probe(site.again(request))
        repeated = site.run(site.again(request))
        assert found is not None
        for later in (found, repeated):
            assert later.already_done
            assert (later.live_id, later.entries, later.bytes) == (made.live_id, made.entries, made.bytes)
            assert later.manifest_digest == made.manifest_digest
    assert site.live_id == live_id_for(switch.task_id)
    assert site.snapshots == [create.snapshot_id]
    assert site.lives == sorted(["initial", site.live_id])
    assert site.staged == []


@by_copy
def test_a_probe_of_an_init_that_never_ran_says_no_and_a_later_one_is_needed(site: Site) -> None:
    request = site.init_request()
    assert site.probe(site.again(request)) is None
    assert fenced(Call(lambda: site.run(request)).outcome())
    assert site.run(site.again(request)).live_id == "initial"
    found = site.probe(site.again(request))
    assert found is not None
    assert found.live_id == "initial"


def test_the_same_attempt_given_twice_finds_its_work_done(planted: tuple[Site, str]) -> None:
    site, snapshot = planted
    for request in (site.create_request(), site.switch_request(snapshot), site.drop_request(snapshot)):
        assert not site.run(request).already_done
        assert site.run(request).already_done
    assert site.staged == []

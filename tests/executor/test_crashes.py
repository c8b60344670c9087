"""Killed at each step of each operation, a task ends in exactly one complete tree (SPEC §7; P1-03, G15, RK-07)."""

from __future__ import annotations

import signal

import pytest

from executor.contract import ExecuteTask, live_id_for
from executor.failpoints import EXECUTOR_POINTS
from tests.executor.scene import LIMIT, Site
from tests.executor.trees import plant_small, portrait


def points(prefix: str) -> list[str]:
    return [point for point in EXECUTOR_POINTS if point.startswith(f"{prefix}.")]


def kill_at(site: Site, request: ExecuteTask, point: str) -> None:
    """Run the attempt in a process that is killed when it comes to the point."""
    with site.start(request, f"{point}=kill") as process:
        assert process.wait(LIMIT) == -signal.SIGKILL, f"it never came to {point}"


@pytest.mark.rule("RK-07")
@pytest.mark.parametrize("point", points("init"))
def test_init_killed_at_any_step_is_finished_by_the_next_attempt(site: Site, point: str) -> None:
    first = site.init_request()
    kill_at(site, first, point)
    site.assert_whole()
    assert site.run(site.again(first)).live_id == "initial"
    site.assert_whole()
    assert site.staged == []
    assert site.lives == ["initial"]
    assert site.live_id == "initial"
    assert site.run(site.again(first)).already_done


@pytest.mark.rule("P1-03")
@pytest.mark.rule("G15")
@pytest.mark.parametrize("point", points("create"))
def test_create_killed_at_any_step_ends_in_one_complete_snapshot(site: Site, point: str) -> None:
    plant_small(site.init())
    first = site.create_request()
    assert first.snapshot_id is not None
    kill_at(site, first, point)
    site.assert_whole()
    published = site.snapshots == [first.snapshot_id]
    assert (site.probe(site.again(first)) is not None) is published
    outcome = site.run(site.again(first))
    assert outcome.already_done is published
    assert outcome.entries == len(portrait(site.tree)) - 1
    assert site.snapshots == [first.snapshot_id]
    assert portrait(site.snapshot_tree(first.snapshot_id)) == portrait(site.tree)
    site.assert_whole()
    assert site.staged == []


@pytest.mark.rule("P1-03")
@pytest.mark.rule("G15")
@pytest.mark.parametrize("point", points("set_current"))
def test_set_current_killed_at_any_step_ends_in_one_complete_tree(site: Site, point: str) -> None:
    plant_small(site.init())
    snapshot = site.snapshot()
    (site.tree / "data.bin").unlink()
    first = site.switch_request(snapshot)
    live_id = live_id_for(first.task_id)
    kill_at(site, first, point)
    site.assert_whole()
    switched = site.live_id == live_id
    assert (site.probe(site.again(first)) is not None) is switched
    outcome = site.run(site.again(first))
    assert outcome.already_done is switched
    assert outcome.live_id == site.live_id == live_id
    assert site.lives == sorted(["initial", live_id])
    assert portrait(site.tree) == portrait(site.snapshot_tree(snapshot))
    site.assert_whole()
    assert site.staged == []


@pytest.mark.rule("P1-03")
@pytest.mark.rule("G15")
@pytest.mark.parametrize("point", points("drop"))
def test_drop_killed_at_any_step_leaves_no_snapshot_behind(site: Site, point: str) -> None:
    plant_small(site.init())
    snapshot, other = site.snapshot(), site.snapshot()
    first = site.drop_request(snapshot)
    kill_at(site, first, point)
    site.assert_whole()
    assert site.snapshots == [other]
    assert site.run(site.again(first)).warnings == ()
    assert site.snapshots == [other]
    assert site.staged == []

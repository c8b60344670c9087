"""What was swept, and staging of dead attempts, is deleted under no lock (SPEC §7; RK-04)."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from executor import failpoints, tree
from executor.contract import Outcome, Stopped, StopReason, StopSignal
from tests.executor.calls import Meanwhile
from tests.executor.scene import Site, new_task_id
from tests.executor.trees import plant_small, portrait


@pytest.mark.rule("RK-04")
def test_staging_of_dead_attempts_goes_and_that_of_living_ones_stays(site: Site) -> None:
    plant_small(site.init())
    snapshot = site.snapshot()
    for request, point in (
        (site.create_request(), "create.cloned"),
        (site.switch_request(snapshot), "set_current.copied"),
        (site.drop_request(snapshot), "drop.moved"),
    ):
        site.kill_at(request, point)
    assert len(site.staged) == 3
    site.sweep()
    alive = site.ws.staging(new_task_id(), 1000)
    (alive / "tree" / "half").mkdir(parents=True)
    assert len(site.purge().deleted) == 3
    assert site.staged == [alive.name]
    assert portrait(alive).keys() == {b"", b"tree", b"tree/half"}


@pytest.mark.rule("RK-04")
def test_names_in_staging_that_are_none_of_ours_are_left_and_told(site: Site) -> None:
    site.init()
    odd = [
        "by-hand",
        "task-x.",
        "task-x.12a",
        "task.-3",
        ".7",
        "x.\u0663",
        "x.0",
        "x." + "9" * 30,
        "bad\udcff",
        "new\n.line",
    ]
    for name in odd:
        (site.ws.staging_dir / name).mkdir()
    for name in ("dots.in.it.1", "new\nline.1"):
        (site.ws.staging_dir / name).mkdir()
    purged = site.purge()
    assert purged.deleted == ("dots.in.it.1", "new\\nline.1")
    assert len(purged.left) == len(odd)
    assert {"by-hand", "x.0", "bad\\udcff"} <= purged.left.keys()
    assert site.staged == sorted(odd)


@pytest.mark.rule("RK-04")
def test_a_purge_waits_for_nobody(site: Site, old: str) -> None:
    site.sweep(live=(old,))
    with site.ws.lock.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert len(site.purge().deleted) == 1


@pytest.mark.rule("RK-04")
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_two_purges_of_the_same_staging_do_not_fail_each_other(site: Site, old: str, at: int) -> None:
    site.sweep(live=(old, "initial"), snapshots=(site.snapshots[0],))

    def other(check: int) -> None:
        if check == at:
            assert not site.purge().left

    purged = site.purge(Meanwhile(other))
    assert not purged.left
    assert site.staged == []


@pytest.mark.rule("RK-04")
@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_purge_and_the_next_attempt_of_the_task_do_not_fail_each_other(site: Site, at: int) -> None:
    plant_small(site.init())
    first = site.create_request()
    site.kill_at(first, "create.cloned")
    site.sweep()
    outcomes: list[Outcome] = []

    def attempt(check: int) -> None:
        if check == at:
            outcomes.append(site.run(site.again(first)))

    dead = site.seen_fence
    signal = Meanwhile(attempt)
    purged = site.executor.purge(site.wsid, fence=dead, stop=signal)
    signal.close()
    assert not purged.left
    assert site.staged == []
    assert site.snapshots == ([first.snapshot_id] if outcomes else [])
    site.assert_whole()


@pytest.mark.rule("RK-04")
@pytest.mark.parametrize("at", range(1, 8))
def test_a_deletion_goes_on_where_somebody_else_deletes(workdir: Path, at: int) -> None:
    root = workdir / "doomed"
    for path in ("a/b/c", "a/d", "e/f", "g"):
        (root / path).mkdir(parents=True)
        (root / path / "file").touch()
    checks = 0

    def other() -> None:
        nonlocal checks
        checks += 1
        if checks == at:
            shutil.rmtree(root / "a")
        elif checks == at + 1:
            shutil.rmtree(root)

    tree.delete(root, check=other)
    assert not root.exists()


@pytest.mark.rule("RK-04")
@pytest.mark.parametrize("empty", [True, False])
def test_a_purge_that_is_stopped_leaves_the_rest_to_the_next(
    site: Site, old: str, stop: StopSignal, empty: bool
) -> None:
    site.sweep(live=() if empty else (old, "initial"))
    for name in ("one.1", "two.1") if empty else ():
        (site.ws.staging_dir / name).mkdir()
    failpoints.arm("purge.deleted", lambda: stop.stop(StopReason.SHUTDOWN))
    with pytest.raises(Stopped):
        site.purge(stop)
    assert len(site.staged) == 1
    failpoints.disarm_all()
    assert len(site.purge().deleted) == 1
    assert site.staged == []


@pytest.mark.rule("RK-04")
@pytest.mark.parametrize("driver", ["copy"], indirect=True)
def test_a_stop_is_obeyed_in_the_middle_of_a_tree(site: Site, old: str) -> None:
    site.sweep(live=(old,))

    def later(check: int) -> None:
        if check == 4:
            signal.stop(StopReason.SHUTDOWN)

    signal = Meanwhile(later)
    with pytest.raises(Stopped):
        site.purge(signal)
    signal.close()
    assert len(site.staged) == 1

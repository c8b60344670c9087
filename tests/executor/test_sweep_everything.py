"""A workspace that was swept whole, or in part, is made anew by an init (SPEC §7; G20, RK-07)."""

from __future__ import annotations

import os
import signal

import pytest

from executor import failpoints
from executor.contract import FaultReason
from tests.executor.calls import refusal
from tests.executor.conftest import MakeSite
from tests.executor.scene import LIMIT, Site
from tests.executor.trees import plant_small, portrait


@pytest.mark.rule("G20")
@pytest.mark.rule("RK-07")
@pytest.mark.parametrize("kills", [0, 1, 2, 3])
def test_a_workspace_swept_whole_or_in_part_is_made_anew_by_an_init(site: Site, old: str, kills: int) -> None:
    early, current, lives = site.init_request(), site.live_id, site.lives
    for _ in range(kills):
        with site.start_sweep(site.sweep_request(everything=True), "sweep.moved=kill") as process:
            assert process.wait(LIMIT) == -signal.SIGKILL
    left = [name for name in ("live", "snapshots", "current") if os.path.lexists(site.ws.root / name)]
    assert left == ["live", "snapshots", "current"][kills:]
    if not kills:
        assert site.sweep(everything=True).moved == ("live", "snapshots", "current")
    seen = site.inventory().fence
    assert refusal(lambda: site.run(early)).reason is FaultReason.FENCED
    assert not site.run(site.init_request()).already_done
    assert (site.lives, site.live_id) == (["initial"], "initial")
    assert list(site.tree.iterdir()) == []
    assert site.seen_fence > seen
    site.purge()
    assert site.staged == []
    site.assert_whole()
    assert not {current, *lives} - {"initial"} & set(site.lives)
    site.switch_to(site.snapshot())


@pytest.mark.rule("RK-07")
@pytest.mark.parametrize("point", [point for point in failpoints.EXECUTOR_POINTS if point.startswith("init.")])
def test_an_init_after_a_sweep_of_everything_may_be_killed_at_any_step(site: Site, old: str, point: str) -> None:
    site.sweep(everything=True)
    init = site.init_request()
    site.kill_at(init, point)
    assert site.run(site.again(init)).live_id == "initial"
    assert (site.lives, site.live_id, site.snapshots) == (["initial"], "initial", [])
    assert list(site.tree.iterdir()) == []
    site.purge()
    assert site.staged == []
    site.assert_whole()


@pytest.mark.rule("RK-07")
def test_an_init_puts_the_first_tree_into_a_live_directory_that_lost_it(site: Site, old: str) -> None:
    site.ws.current.unlink()
    assert site.sweep(live=("initial",)).moved == ("live/initial",)
    assert not site.run(site.init_request()).already_done
    assert site.live_id == "initial"
    assert list(site.tree.iterdir()) == []
    assert old in site.lives
    site.assert_whole()


def test_each_workspace_is_swept_by_itself(make_site: MakeSite) -> None:
    site, other = make_site(), make_site()
    for each in (site, other):
        plant_small(each.init())
    before = portrait(other.ws.root)
    site.sweep(everything=True)
    site.purge()
    assert portrait(other.ws.root) == before

"""An agent in a process of its own that says FROZEN and writes on, attempt after attempt (SPEC §8; RK-02, RK-03)."""

from __future__ import annotations

from functools import partial

import pytest

from executor import failpoints
from executor.contract import ExecutorFault, FaultReason
from tests.agent.scene import control_of, spoken
from tests.executor.conftest import MakeSite, driver, make_site
from tests.executor.scene import Site
from tests.executor.trees import plant_small
from tests.waiting import eventually
from wvs_agent.protocol import ControlState

__all__ = ["driver", "make_site"]

AGENT = "tests.agent.agent_process"
ATTEMPTS = 10


def wait_for_a_lie(site: Site) -> None:
    """A lie that writes nothing while the tree must stand still harms no snapshot, and is none."""
    log = site.tree / "log"
    before = log.stat().st_size
    eventually(lambda: log.stat().st_size > before, "the agent writes on")


@pytest.mark.rule("RK-02")
@pytest.mark.rule("RK-03")
@pytest.mark.parametrize("precopy", [True, False], ids=["pre-copy", "cloned in the freeze"])
def test_however_often_it_is_tried_a_lying_agent_gets_no_snapshot(make_site: MakeSite, precopy: bool) -> None:
    site = make_site(precopy=precopy, quiesce_timeout=60.0, freeze_lease=20.0)
    plant_small(site.init())
    copied_early: list[int] = []
    with spoken(AGENT, site.ws.root, "--lie") as agent:
        agent.hear("attached")
        for attempt in range(ATTEMPTS):
            failpoints.arm("create.copied", partial(copied_early.append, attempt))
            failpoints.arm("create.cloned", lambda: wait_for_a_lie(site))
            with pytest.raises(ExecutorFault) as caught:
                site.snapshot()
            assert caught.value.reason is FaultReason.QUIESCE_VIOLATED
            assert not caught.value.permanent
            assert site.snapshots == site.staged == []
            assert control_of(site.ws).state is ControlState.REQUEST_RESUME
            agent.hear("frozen")
            agent.hear("resumed live/initial")
    assert bool(copied_early) is precopy

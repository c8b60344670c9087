"""What an executor counts of its runs: where it happens, whatever becomes of the run (SPEC §11)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from executor import failpoints
from executor.contract import AgentReport, ExecutorFault
from executor.local import LocalExecutor
from executor.metrics import ExecutorMetrics
from tests.agent.scene import HandAgent
from tests.executor.scene import Site
from tests.executor.trees import plant_small
from wvs_agent import QuiesceWatcher

pytestmark = pytest.mark.rule("§11")


class Counted:
    """A workspace whose executor's counts are seen."""

    def __init__(self, mount: Path, **settings: object) -> None:
        self.registry = CollectorRegistry()
        self.site = Site(mount, "copy", **settings)
        self.site.executor = LocalExecutor(self.site.config, metrics=ExecutorMetrics(self.registry))
        plant_small(self.site.init())

    def __call__(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(f"wvs_{name}", labels)
        assert value is not None, name
        return value


@pytest.fixture
def counted(workdir: Path) -> Counted:
    return Counted(workdir)


def nothing() -> None:
    """A callback."""


def attached(site: Site, on_freeze: Callable[[], None] = nothing) -> QuiesceWatcher:
    return QuiesceWatcher(site.ws.root, on_freeze, lambda current: None)


def test_a_snapshot_and_a_switch_of_an_attached_agent_are_counted_once(counted: Counted) -> None:
    with attached(counted.site):
        request = counted.site.create_request()
        outcome = counted.site.run(request)
        assert counted.site.run(counted.site.again(request)).already_done
        assert request.snapshot_id is not None
        counted.site.switch_to(request.snapshot_id)
    for op in ("snapshot_create", "set_current"):
        assert counted("clone_duration_seconds_count", op=op) == 1
    assert counted("clone_entries_total", op="snapshot_create") == outcome.entries
    assert counted("switch_duration_seconds_count") == 1
    assert counted("quiesce_wait_seconds_count") == counted("freeze_seconds_count") == 2
    assert counted("freeze_seconds_sum") > 0
    assert counted("resume_stale_total") == counted("quiesce_timeout_total") == counted("executor_active_tasks") == 0


def test_a_workspace_without_an_agent_has_no_standstill(counted: Counted) -> None:
    counted.site.snapshot()
    assert counted("freeze_seconds_count") == counted("quiesce_wait_seconds_count") == 0


def test_a_run_that_is_under_way_is_active(counted: Counted) -> None:
    seen: list[float] = []
    with attached(counted.site, lambda: seen.append(counted("executor_active_tasks"))):
        counted.site.snapshot()
    assert seen == [1]


def test_an_agent_that_does_not_answer_is_counted_and_has_no_standstill(workdir: Path) -> None:
    counted = Counted(workdir, quiesce_timeout=0.2)
    agent = HandAgent(counted.site.ws)
    with closing(agent.lock), suppress(ExecutorFault):
        counted.site.snapshot()
    assert counted("quiesce_timeout_total") == counted("clone_fail_total", reason="QUIESCE_TIMEOUT") == 1
    assert counted("freeze_seconds_count") == counted("quiesce_wait_seconds_count") == 0


def test_the_standstill_of_a_run_that_failed_is_counted_and_is_no_stale_resume(counted: Counted) -> None:
    data = counted.site.tree / "data.bin"

    def writes_on() -> None:
        data.write_bytes(b"not quiet")

    failpoints.arm("create.cloned", writes_on)
    with attached(counted.site), pytest.raises(ExecutorFault):
        counted.site.snapshot()
    assert counted("clone_fail_total", reason="QUIESCE_VIOLATED") == 1
    assert counted("freeze_seconds_count") == 1
    assert counted("resume_stale_total") == 0


@pytest.mark.parametrize(
    ("seen", "heard", "stale"),
    [
        (AgentReport(attached=True, resumed=True), True, 0),
        (AgentReport(attached=True, resumed=False), True, 1),
        (AgentReport(attached=True, resumed=True, old_handles=("cwd of 1",)), True, 1),
        (AgentReport(attached=True, resumed=False), False, 0),
        (AgentReport(attached=False), True, 0),
    ],
)
def test_an_agent_that_did_not_follow_is_counted(seen: AgentReport, heard: bool, stale: float) -> None:
    metrics = ExecutorMetrics()
    metrics.froze(seen, heard=heard)
    assert metrics.registry.get_sample_value("wvs_resume_stale_total") == stale

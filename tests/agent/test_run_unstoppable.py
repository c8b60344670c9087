"""`wvs-agent run` with a process that nothing can stop: FROZEN is not said, and all goes on (SPEC §8)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.contract import ExecutorFault, FaultReason, StopSignal
from executor.freeze import freeze
from executor.layout import WorkspaceLayout
from tests.agent.hung_mount import FILE, HungMount, hung_mount
from tests.agent.running import FREEZERS, running
from tests.agent.scene import Limits, a_task
from tests.agent.watching import PATIENT, grows
from tests.waiting import eventually
from wvs_agent import processes
from wvs_agent.config import FreezerKind

pytestmark = [pytest.mark.rule("§8"), pytest.mark.root, pytest.mark.fuse]
BRIEF = Limits(quiesce_timeout=30.0, freeze_lease=1.5)
"""What cannot be stopped is refused half a second before the end of the lease."""


@pytest.fixture
def hung(workdir: Path) -> Iterator[HungMount]:
    with hung_mount(workdir / "hung") as mount:
        yield mount


def waits_for_the_disk(pid: int) -> bool:
    """Whether it is in a system call that no signal to stop can interrupt."""
    return "D" in processes.task_states(pid).values()


@pytest.mark.parametrize("kind", FREEZERS)
def test_what_cannot_be_stopped_is_never_called_frozen_and_named_in_the_log(
    ws: WorkspaceLayout, stop: StopSignal, hung: HungMount, kind: FreezerKind
) -> None:
    script = f"stat {hung.path} >/dev/null 2>&1 & echo $!; while :; do echo x >>log; sleep 0.01; done"
    with running(ws.root, ["sh", "-c", script], kind=kind, stderr=subprocess.PIPE) as run:
        stuck = int(run.hear())
        eventually(lambda: waits_for_the_disk(stuck), "the child waits")
        with pytest.raises(ExecutorFault) as caught, freeze(ws, a_task(), BRIEF, stop):
            pytest.fail("FROZEN was said")
        assert caught.value.reason is FaultReason.QUIESCE_TIMEOUT
        assert "refused" in str(caught.value)
        grows(ws.live("initial"))
        hung.let_go()
        with freeze(ws, a_task(2), PATIENT, stop) as quiet:
            assert run.all_still()
        assert quiet.report.resumed
        run.child.terminate()
        run.wait()
        said = run.complaints()
        assert "does not stop" in said
        assert f"process {stuck} (stat)" in said


def test_a_file_open_on_a_mount_that_does_not_answer_is_not_asked_about(
    ws: WorkspaceLayout, stop: StopSignal, hung: HungMount
) -> None:
    """Whoever asks waits for ever, and there would be no snapshot any more, though the command does not wait."""
    script = f"exec 7>>{hung.path / FILE}; echo ready; while :; do echo x >>log; sleep 0.01; done"
    with running(ws.root, ["sh", "-c", script]) as run:
        hung.serve_one_open()
        assert run.hear() == "ready"
        for fence in (1, 2):
            with freeze(ws, a_task(fence), PATIENT, stop) as quiet:
                assert run.all_still()
            assert quiet.report.resumed
        hung.let_go()

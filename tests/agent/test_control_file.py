"""The executor's writes of one freeze, in every order that two threads can bring them."""

from __future__ import annotations

from executor.control_file import ControlFile
from executor.layout import WorkspaceLayout
from tests.agent.scene import a_task, control_of
from wvs_agent.protocol import ControlState


def test_a_renewal_that_comes_after_the_resume_is_not_written(ws: WorkspaceLayout) -> None:
    control = ControlFile(ws, a_task(), current="live/initial", lease_seconds=10.0)
    control.prepare()
    control.ask()
    assert control.renew()
    assert control_of(ws).renewal == 1
    assert control.resume("live/initial")
    assert not control.renew()
    assert control_of(ws).state is ControlState.REQUEST_RESUME
    control.close()


def test_each_freeze_has_a_nonce_of_its_own(ws: WorkspaceLayout) -> None:
    made = {ControlFile(ws, a_task(), current="live/initial", lease_seconds=10.0).nonce for _ in range(100)}
    assert len(made) == 100

"""`wvs-agent conformance`: our own agent passes it, and each way of not keeping one's word has its check (SPEC §8)."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent.running import GENTLE, PYTHON, running
from tests.agent.scene import ROOT
from tests.waiting import eventually
from wvs_agent import conformance, protocol
from wvs_agent.conformance_checks import CHECKS, examine, flushed
from wvs_agent.protocol import AgentLock, AgentState, AgentStatus, Control, ControlState
from wvs_agent.standstill import AgentSide

pytestmark = pytest.mark.rule("§8")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    root = tmp_path / "scratch"
    conformance.make_scratch(root)
    return root


def test_our_own_agent_passes(scratch: Path) -> None:
    with running(scratch, GENTLE) as run:
        assert run.hear() == "started"
        answer = subprocess.run(
            [PYTHON, "-m", "wvs_agent", "conformance", "--workspace", str(scratch), "--json"],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        found = {each["name"]: each["verdict"] for each in json.loads(answer.stdout)}
        undecided = {(flushed.__doc__ or "").splitlines()[0]}  # where the file system does not tell
        assert {name for name, verdict in found.items() if verdict != "ok"} <= undecided
        assert len(found) == len(CHECKS)
        assert answer.returncode == 0


def test_a_workspace_in_which_an_executor_works_is_left_alone(scratch: Path) -> None:
    fd = os.open(scratch / ".wvs" / "lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(conformance.NotExaminedError), conformance.examined(scratch, timeout=1.0, lease=1.0):
        pass
    os.close(fd)
    assert not (scratch / protocol.CONTROL_FILE).exists()


def test_nobody_attached_is_not_examined(scratch: Path) -> None:
    with conformance.examined(scratch, timeout=1.0, lease=1.0) as bench, pytest.raises(conformance.NotExaminedError):
        conformance.await_attached(bench, 0.0)


class Liar:
    """An agent by hand that answers at once, with one fault of its own."""

    def __init__(self, root: Path, fault: str) -> None:
        self.root = root
        self.fault = fault
        self._side = AgentSide(root, fault)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._lease_end = 0.0
        self._spent: set[str] = set()
        self._heard: tuple[str, int] = ("", -1)

    @contextmanager
    def attached(self) -> Iterator[None]:
        lock = AgentLock(self.root / protocol.AGENT_LOCK)
        assert lock.try_acquire()
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()
            lock.close()

    def _run(self) -> None:
        written = 0
        while not self._over.wait(0.005):
            if self.fault == "writes on":
                written += 1
                (self.root / "current" / "file").write_text(f"{written}")
            control = self._side.asked()
            if control is None:
                if self.fault == "believes rubbish" and (self.root / protocol.CONTROL_FILE).exists():
                    self._say(AgentState.FROZEN, "0" * 32, 0)
                continue
            self._answer(control)

    def _answer(self, control: Control) -> None:
        now = protocol.clock()
        if control.state is ControlState.REQUEST_RESUME:
            seen = self.root.joinpath("current").readlink()
            if self.fault == "goes on blindly" or str(seen) == control.current:
                self._say(AgentState.RUNNING, control.nonce, control.renewal)
            return
        if control.state is not ControlState.REQUEST_FREEZE or self._ended(control, now):
            return
        if (self._heard != (control.nonce, control.renewal) and self.fault != "deaf to renewals") or (
            self._heard[0] != control.nonce
        ):
            self._heard = control.nonce, control.renewal
            early = 0.5 if self.fault == "goes on early" else -0.2
            self._lease_end = now + control.lease_seconds - early
            nonce = "f" * 32 if self.fault == "another nonce" else control.nonce
            self._say(AgentState.FROZEN, nonce, control.renewal)

    def _ended(self, control: Control, now: float) -> bool:
        """Whether that freeze is over by its lease."""
        if control.nonce in self._spent and self.fault != "freezes again":
            return True
        if self._heard == (control.nonce, control.renewal) and now > self._lease_end and self.fault != "stays frozen":
            self._spent.add(control.nonce)
            self._say(AgentState.RUNNING, control.nonce, control.renewal)
            return True
        return False

    def _say(self, state: AgentState, nonce: str, renewal: int) -> None:
        current = "live/elsewhere" if self.fault == "sees another tree" else self._side.current()
        status = AgentStatus(self.fault, state, nonce, renewal, current, (), protocol.now_text())
        protocol.replace_file(self.root / protocol.AGENT_FILE, status.encode())


FAULTS = {
    "another nonce": "answers",
    "sees another tree": "names_current",
    "writes on": "stands_still",
    "deaf to renewals": "follows_renewals",
    "goes on early": "obeys_lease",
    "stays frozen": "obeys_lease",
    "freezes again": "obeys_lease",
    "believes rubbish": "ignores_rubbish",
    "goes on blindly": "waits_for_current",
}


def failed(root: Path, fault: str) -> set[str]:
    names = {(check.__doc__ or "").splitlines()[0]: check.__name__ for check in CHECKS}
    with Liar(root, fault).attached(), conformance.examined(root, timeout=1.5, lease=2.0) as bench:
        eventually(bench.is_attached)
        return {names[each.name] for each in examine(bench) if each.verdict is conformance.Verdict.FAILED}


def test_an_agent_by_hand_that_keeps_its_word_passes(scratch: Path) -> None:
    assert failed(scratch, "none") == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_broken_word_is_found(scratch: Path, fault: str) -> None:
    assert FAULTS[fault] in failed(scratch, fault)

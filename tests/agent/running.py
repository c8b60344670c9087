"""`wvs-agent run` in a process of its own, and a look at everything that it has started."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.agent.scene import ROOT, agent_lock_is_free
from tests.waiting import eventually
from wvs_agent import processes
from wvs_agent.config import FREEZER_VARIABLE, FreezerKind
from wvs_agent.processes import DEAD, Process

PYTHON = sys.executable
JOURNAL = (PYTHON, str(ROOT / "tests" / "agent" / "journal_program.py"))
GENTLE = (*JOURNAL, "gentle")
"""The same with pauses: it leaves the machine to others."""
FREEZERS = [FreezerKind.SIGNALS, pytest.param(FreezerKind.CGROUP, marks=pytest.mark.root)]
"""Both ways of stopping a command, for tests that are parametrized by them."""
MAPPING = (PYTHON, str(ROOT / "tests" / "agent" / "mapping_program.py"))
_TOKEN = "WVS_TEST_RUN"


class Running:
    """One `wvs-agent run`. What it starts carries a token in its environment, by which it is found wherever it went."""

    def __init__(
        self, root: Path, command: Sequence[str], *options: str, kind: FreezerKind = FreezerKind.SIGNALS, **popen: Any
    ) -> None:
        self.root = root
        self.token = secrets.token_hex(8)
        self.child = subprocess.Popen(
            [PYTHON, "-m", "wvs_agent", "run", "--workspace", str(root), *options, "--", *command],
            cwd=ROOT,
            env={**os.environ, _TOKEN: self.token, FREEZER_VARIABLE: kind},
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **popen},
        )

    def hear(self) -> str:
        """The next line that the command says; empty when nobody is left to say anything."""
        assert self.child.stdout is not None
        return str(self.child.stdout.readline().decode().rstrip("\n"))

    @property
    def keeper(self) -> Process:
        """The living keeper; waits for it."""
        return eventually(lambda: next(iter(filter(is_keeper, self.everything())), None), "a keeper")  # type: ignore[return-value]

    def everything(self) -> list[Process]:
        """All living processes of the run: wvs-agent, its keeper, and whatever the command has become."""
        mark = f"{_TOKEN}={self.token}".encode()
        return [each for each in processes.carrying(mark) if not processes.is_dead(each)]

    def command(self) -> list[Process]:
        """The living processes of the command alone."""
        return [each for each in self.everything() if each.pid != self.child.pid and not is_keeper(each)]

    def all_still(self) -> bool:
        """Whether no thread of the command runs, by what /proc says of each."""
        return all(is_still(each) for each in self.command())

    def lock_is_free(self) -> bool:
        return agent_lock_is_free(self.root)

    def wait_attached(self) -> None:
        eventually(lambda: not self.lock_is_free(), "the agent attached")

    def wait(self) -> int:
        """Until it ends: its exit code. Nothing of it may be left."""
        code = self.child.wait(60)
        assert self.everything() == []
        return code

    def complaints(self) -> str:
        """What was said on standard error, which must be a pipe, once all have ended."""
        assert self.child.stderr is not None
        return str(self.child.stderr.read().decode())

    def kill(self) -> None:
        """kill -9 of wvs-agent itself."""
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def close(self) -> None:
        """End it and everything of it, whatever state it is in."""
        groups = list(Path("/sys/fs/cgroup").glob(f"**/wvs-agent-{self.child.pid}-*"))
        for group in groups:
            (group / "cgroup.kill").write_text("1")
        for number in (signal.SIGCONT, signal.SIGKILL):
            for each in self.everything():
                processes.send(each, number)
        self.child.wait(60)
        eventually(lambda: self.everything() == [], "nothing is left of the run")
        for group in groups:
            eventually(lambda group=group: _removed(group), f"{group} is gone")  # type: ignore[misc]
        for stream in (self.child.stdout, self.child.stderr):
            if stream is not None:
                stream.close()


@contextmanager
def running(root: Path, command: Sequence[str], *options: str, **more: Any) -> Iterator[Running]:
    run = Running(root, command, *options, **more)
    try:
        yield run
    finally:
        run.close()


def is_keeper(process: Process) -> bool:
    """Whether it is the second process of wvs-agent, by what it was started with."""
    try:
        return b"wvs_agent.keeper" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_still(process: Process) -> bool:
    """Stopped in all its threads, or in a frozen cgroup."""
    states = set(processes.task_states(process.pid).values())
    if states <= DEAD | {"T"}:
        return True
    try:
        lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
        group = next(line for line in lines if line.startswith("0::")).removeprefix("0::/")
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        place = Path(next(fields[1] for fields in mounts if fields[2] == "cgroup2")) / group
        return "frozen 1" in (place / "cgroup.events").read_text()
    except (FileNotFoundError, ProcessLookupError, StopIteration):
        return False


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True

"""`wvs-agent status`: who is attached to a workspace, and what both sides said last. Changes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from wvs_agent import processes, protocol
from wvs_agent.files import OPEN_FLAGS, UnsafeFileError
from wvs_agent.processes import PROC
from wvs_agent.protocol import AgentState, AgentStatus, Control, ControlState

_Document = TypeVar("_Document", Control, AgentStatus)


@dataclass(frozen=True, slots=True)
class Status:
    """What can be seen of one workspace."""

    workspace: str
    attached: bool
    """Whether somebody holds the agent lock: an agent, or the executor while it works with nobody attached."""
    holders: tuple[str, ...]
    """Processes of this host that have the lock open: "4711 python". Nobody of another host is seen."""
    frozen: bool
    """Whether somebody is attached and has said FROZEN to the request that stands."""
    current: str
    """Where `current` points as seen from here; empty if that cannot be read."""
    agent: AgentStatus | None
    """agent.json; None while it is missing or not whole. An agent that died may have left it."""
    control: Control | None
    """control.json; None while it is missing or not whole."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        by = f", {self.agent.agent_id}" if self.agent and self.attached else ""
        here = f" (on this host: {', '.join(self.holders)})" if self.holders else ""
        said = f"{self.agent.state} {self.agent.updated_at}" if self.agent else "nothing"
        asked = f"{self.control.state} {self.control.updated_at}, {self.control.task_id}" if self.control else "nothing"
        found = [
            f"attached: {'yes' if self.attached else 'no'}{by}{here}",
            f"frozen:   {'yes' if self.frozen else 'no'}",
            f"current:  {self.current or 'unreadable'}",
            f"agent:    {said}",
            f"executor: {asked}",
        ]
        if self.agent:
            found += [f"old tree: {handle}" for handle in self.agent.old_handles]
        return found


def look(workspace: Path) -> Status:
    """The status. Raises OSError where there is no workspace, or it may not be read."""
    root = Path(os.path.realpath(workspace))
    lock = root / protocol.AGENT_LOCK
    attached = _is_taken(lock)
    agent = _read(protocol.read_agent, root / protocol.AGENT_FILE)
    control = _read(protocol.read_control, root / protocol.CONTROL_FILE)
    current = ""
    with contextlib.suppress(OSError):
        current = protocol.printable(str((root / "current").readlink()))
    return Status(
        workspace=str(root),
        attached=attached,
        holders=tuple(_holders(lock)),
        frozen=attached and _answers(control, agent),
        current=current,
        agent=agent,
        control=control,
    )


def _answers(control: Control | None, agent: AgentStatus | None) -> bool:
    """Whether the agent says FROZEN to the request that stands."""
    if control is None or agent is None or control.state is not ControlState.REQUEST_FREEZE:
        return False
    return agent.state is AgentState.FROZEN and agent.nonce == control.nonce


def _is_taken(lock: Path) -> bool:
    """Whether somebody holds the lock. Ours is a shared one and lasts for no time: two who look do not see each other,
    and who comes to take it tries again."""
    fd = os.open(lock, os.O_RDONLY | OPEN_FLAGS)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _holders(lock: Path) -> list[str]:
    wanted = lock.stat()
    found = []
    for process in processes.everyone():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if any(_is(link, wanted) for link in (PROC / str(process.pid) / "fd").iterdir()):
                found.append(protocol.printable(f"{process.pid} {processes.name_of(process.pid)}"))
    return found


def _is(link: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(link.stat(), wanted)
    except OSError:
        return False


def _read(read: Callable[[Path], _Document | None], path: Path) -> _Document | None:
    with contextlib.suppress(UnsafeFileError):
        return read(path)
    return None

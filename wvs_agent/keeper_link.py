"""The keeper as `wvs-agent run` sees it: started, asked, heard, and started again when it dies."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wvs_agent import config, keeper, processes
from wvs_agent.processes import Process

_ANSWER_LIMIT: Final = 5.0
"""Seconds in which a living keeper answers; one that does not is replaced."""
_PACKAGE_HOME: Final = Path(__file__).resolve().parent.parent
_PROGRAM: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); from wvs_agent.keeper import main; main()"


class KeeperLostError(Exception):
    """The keeper is gone, or does not answer."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a keeper is told when it is started."""

    root: Path
    mark: str
    """Tells the processes of this run from all others."""
    grace: float
    cgroup: Path | None
    argv: tuple[str, ...]


class KeeperLink:
    """One keeper at a time. ask() may be called from any thread, all else from one."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._guard = threading.Lock()
        self._words: socket.socket | None = None
        self._events: socket.socket | None = None
        self.pid = 0
        """The keeper's; 0 before the first."""

    def start(self, adopted: list[Process] | None = None, *, lease_end: float | None = None) -> None:
        """Start the keeper; a second one is told what it must know of but has not started itself.

        `lease_end`: a freeze is under way up to then, by protocol.clock(). Told at the start, lest it thaws too early.

        It inherits every descriptor that is inheritable, the agent lock's among them. Raises OSError.
        """
        words, its_words = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        events, its_events = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        settings = {
            "root": str(self._kept.root),
            "mark": self._kept.mark,
            "grace": self._kept.grace,
            "cgroup": str(self._kept.cgroup) if self._kept.cgroup else None,
            "adopted": [dataclasses.astuple(each) for each in adopted or []],
            "second": adopted is not None,
            "lease_end": lease_end,
        }
        with self._guard, its_words, its_events:
            self._close_sockets()
            its_words.set_inheritable(True)
            its_events.set_inheritable(True)
            arguments = [str(its_words.fileno()), str(its_events.fileno()), json.dumps(settings), *self._kept.argv]
            program = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(_PACKAGE_HOME), *arguments]
            self.pid = os.posix_spawn(sys.executable, program, config.own_environment(), setpgroup=0)
            words.settimeout(_ANSWER_LIMIT)
            self._words, self._events = words, events

    def command(self, *, foreground: bool) -> int:
        """Start the command in the current tree: its process id, which is also its group. Raises KeeperLostError."""
        return int(self._ask({"do": "start", "foreground": foreground})["pid"])

    def lease(self, end: float) -> bool:
        """A freeze or its renewal up to `end` by protocol.clock(); False when the keeper has thawed it already.

        Raises KeeperLostError.
        """
        return bool(self._ask({"do": "lease", "end": end})["ok"])

    def thawed(self) -> None:
        """The freeze is over. A keeper that does not hear it is gone. Never raises."""
        with contextlib.suppress(KeeperLostError):
            self._ask({"do": "thawed"})

    def lock(self, fd: int) -> None:
        """It holds the agent lock by this descriptor too, and so will the commands that it starts. Never raises: a
        keeper that does not hear it is gone, and the next one inherits it."""
        with contextlib.suppress(KeeperLostError):
            self._ask({"do": "lock"}, fd)

    def events_fd(self) -> int:
        """Readable when hear() has something to tell."""
        return -1 if self._events is None else self._events.fileno()

    def hear(self) -> tuple[int, int]:
        """The next news of a command: its process id and what wait() said. Raises KeeperLostError."""
        try:
            data = self._events.recv(keeper.MESSAGE_BYTES) if self._events else b""
        except OSError as error:
            raise KeeperLostError(str(error)) from error
        if not data:
            raise KeeperLostError("the keeper is gone")
        news = json.loads(data)
        return news["pid"], news["status"]

    @contextmanager
    def steady(self) -> Iterator[int]:
        """While it lasts no keeper is started: its process id, 0 before the first. Ask nothing meanwhile."""
        with self._guard:
            yield self.pid

    def dismiss(self) -> None:
        """Let it end, after all of the command has; waits for it."""
        with self._guard:
            self._close_sockets()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _ask(self, word: dict[str, Any], *fds: int) -> dict[str, Any]:
        with self._guard:
            if self._words is None:
                raise KeeperLostError("there is no keeper")
            try:
                socket.send_fds(self._words, [json.dumps(word).encode()], fds)
                data = self._words.recv(keeper.MESSAGE_BYTES)
            except OSError as error:
                # Killed before its socket is closed: a keeper that only was slow would take us for dead.
                _kill(self.pid)
                self._close_words()
                raise KeeperLostError(str(error)) from error
            if not data:
                raise KeeperLostError("the keeper is gone")
            answer: dict[str, Any] = json.loads(data)
            return answer

    def _close_words(self) -> None:
        if self._words is not None:
            self._words.close()
            self._words = None

    def _close_sockets(self) -> None:
        self._close_words()
        if self._events is not None:
            self._events.close()
            self._events = None


def _kill(pid: int) -> None:
    found = processes.look(pid)
    if found is not None and found.parent == os.getpid():
        with contextlib.suppress(OSError):
            processes.send(found, signal.SIGKILL)

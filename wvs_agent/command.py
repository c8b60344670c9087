"""The life of the command that `wvs-agent run` was given: started, told, followed into a new tree, ended (SPEC §8)."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final

from wvs_agent import processes, terminal
from wvs_agent.cgroup import Cgroup
from wvs_agent.ending import Ending
from wvs_agent.freezer import Members
from wvs_agent.keeper_link import KeeperLink, KeeperLostError
from wvs_agent.options import OnSwitch, RunOptions

_log = logging.getLogger(__name__)

_ENDS: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
_TERMINAL_STOPS: Final = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})


class _Phase(StrEnum):
    RUNNING = "running"
    RESTARTING = "restarting"
    FINISHING = "finishing"


class Command:
    """One command from its first start to the end of all that it has left, however often it is started anew.

    Lock: whoever calls a method holds FrozenCommand.still and has seen that nothing is frozen.
    """

    def __init__(
        self, options: RunOptions, root: Path, link: KeeperLink, members: Members, cgroup: Cgroup | None
    ) -> None:
        """`root` is the workspace, `members` finds all that the command has become, what is in `cgroup` too."""
        self.pid = 0
        """0 while none is started."""
        self.code = 0
        """What to exit with once is_over."""
        self.settled: Final = threading.Event()
        """Set once nothing is left to do for the last switch. May be waited for and cleared by any thread."""
        self._options = options
        self._root = root
        self._link = link
        self._members = members
        self._cgroup = cgroup
        self._phase = _Phase.RUNNING
        self._ending: Ending | None = None
        self._tree = ""

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and all that it had left behind too."""
        return self._phase is _Phase.FINISHING and self._ending is None

    @property
    def is_ending(self) -> bool:
        """Whether advance() has something to do."""
        return self._ending is not None

    def start(self) -> bool:
        """Start it in the tree that is current; whether it was. If the keeper is lost, follow_current() tries again."""
        self._tree = self._readlink()
        mine = terminal.foreground() in {os.getpgrp(), self.pid} - {0}
        self.pid = 0
        with contextlib.suppress(KeeperLostError):
            self.pid = self._link.command(foreground=mine)
        return self.pid > 0

    def learn(self, pid: int, status: int) -> None:
        """What wait() said of a process, which need not be the command."""
        if pid != self.pid:
            return
        if os.WIFSTOPPED(status):
            self._stop_with(os.WSTOPSIG(status))
        elif self._phase is not _Phase.RESTARTING:
            self.pid = 0
            code = os.waitstatus_to_exitcode(status)
            self._finish(code if code >= 0 else 128 - code)

    def deliver(self, numbers: Iterable[int]) -> None:
        """Hand on signals that were sent to us."""
        for number in numbers:
            if self._phase is _Phase.RUNNING:
                self._signal(number)
            elif number in _ENDS and self._phase is _Phase.RESTARTING:
                self._finish(128 + number)  # asked to end between two commands
            elif number in _ENDS and self._ending is not None:
                self._ending.hurry()

    def follow_current(self) -> None:
        """Do what a switch asks for. Without a freeze of ours it can only be one that was forced upon us."""
        if self._phase is _Phase.RESTARTING:
            return
        now = self._readlink()
        if self._phase is _Phase.FINISHING or (self.pid and now in ("", self._tree)):
            self.settled.set()
            return
        self._tree = now
        if self._options.on_switch is OnSwitch.RESTART or not self.pid:
            # Not started: the keeper died over it, and may have started something before.
            self._phase = _Phase.RESTARTING
            self._ending = self._end()
            return
        if self._options.on_switch is OnSwitch.SIGNAL:
            self._signal(self._options.switch_signal)
        else:
            said = "current was switched to %s, though the command is not to be switched"
            _log.warning(said, now, extra={"event": "current.switched"})
        self.settled.set()

    def advance(self) -> bool:
        """The next step of an ending that is under way, and the start after it, if one is to follow: whether it was."""
        if self._ending is None or not self._ending.step():
            return False
        self._ending = None
        if self._phase is not _Phase.RESTARTING:
            return False
        self._phase = _Phase.RUNNING
        started = self.start()
        self.settled.set()
        return started

    def _finish(self, code: int) -> None:
        """End what is left of it, then go with `code`."""
        self.code = code
        self._phase = _Phase.FINISHING
        if self._ending is None:
            self._ending = self._end()

    def _end(self) -> Ending:
        return Ending(self._members, self._cgroup, self._options.grace)

    def _signal(self, number: int) -> None:
        command = processes.look(self.pid) if self.pid else None
        if command is not None:
            processes.send(command, number)

    def _stop_with(self, number: int) -> None:
        """The terminal's user stopped it: stop too, so that the shell comes back; go on together."""
        if number not in _TERMINAL_STOPS or terminal.terminal() is None:
            return
        had_terminal = terminal.foreground() == self.pid
        if had_terminal:
            terminal.give_to(os.getpgrp())
        os.kill(os.getpid(), signal.SIGSTOP)
        if terminal.foreground() == os.getpgrp():
            terminal.give_to(self.pid)
        self._signal(signal.SIGCONT)

    def _readlink(self) -> str:
        try:
            return str((self._root / "current").readlink())
        except OSError:
            return ""

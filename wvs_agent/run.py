"""`wvs-agent run`: any command as an agent, frozen for real, in the tree that is current (SPEC §8)."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import signal
import socket
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from wvs_agent import keeper, processes, terminal
from wvs_agent.cgroup import Cgroup, with_cgroup
from wvs_agent.config import FreezerKind
from wvs_agent.ending import Ending
from wvs_agent.frozen import FrozenCommand
from wvs_agent.keeper_link import KeeperLink, KeeperLostError, Kept
from wvs_agent.processes import Process
from wvs_agent.watcher import QuiesceWatcher

_log = logging.getLogger(__name__)

FORWARDED: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
                    signal.SIGALRM, signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP, signal.SIGIO)  # fmt: skip
_ENDS: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
_TERMINAL_STOPS: Final = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
_IDLE: Final = 2.0
"""Seconds between two looks at `current` when nothing happens."""
_STEP: Final = 0.02
_REPLACEMENTS: Final = 10
"""Keepers in a row that may die before one has started a command."""
_SETTLE_LIMIT: Final = 3.0
"""Seconds that the answer to a resume waits for the restart, so that what it tells of open files is the outcome."""


class OnSwitch(StrEnum):
    """What becomes of the command when `current` is switched."""

    RESTART = "restart"
    SIGNAL = "signal"
    REFUSE = "refuse"


class NotUsableError(Exception):
    """This machine cannot do what was asked."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says."""

    workspace: Path
    argv: tuple[str, ...]
    on_switch: OnSwitch = OnSwitch.RESTART
    switch_signal: signal.Signals = signal.SIGHUP
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    freezer: FreezerKind = FreezerKind.AUTO
    attach_timeout: float = 60.0


class _Phase(StrEnum):
    RUNNING = "running"
    RESTARTING = "restarting"
    FINISHING = "finishing"


class Run:
    """One command in one workspace. run() once, in the main thread."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._root = Path(os.path.realpath(options.workspace))
        self._mark = secrets.token_hex(16)
        self._cgroup = _make_cgroup(options.freezer)
        self._link = KeeperLink(
            Kept(self._root, self._mark, options.grace, self._cgroup.path if self._cgroup else None, options.argv)
        )
        self._frozen = FrozenCommand(
            self._root,
            self._members,
            self._link,
            self._cgroup,
            refuse_switch=options.on_switch is OnSwitch.REFUSE,
            resumed=self._resumed,
        )
        self._watcher = QuiesceWatcher(
            self._root,
            self._frozen.on_freeze,
            self._frozen.on_resume,
            on_lease=self._frozen.on_lease,
            handles=self._frozen.handles,
        )
        self._phase = _Phase.RUNNING
        self._ending: Ending | None = None
        self._command = 0
        self._code = 0
        self._tree = ""
        self._settled = threading.Event()
        self._pending: list[int] = []
        self._news: list[tuple[int, int]] = []
        self._replaced = 0
        self._wake, self._waker = socket.socketpair()

    def run(self) -> int:
        """Attach, run the command to its end, and leave nothing behind: its exit code, or 128 and its signal.

        Raises AttachTimeoutError, FileNotFoundError (no such workspace), NotUsableError, OSError.
        """
        try:
            self._watcher.attach(self._options.attach_timeout)
            return self._attached()
        finally:
            if self._cgroup is not None:
                self._cgroup.remove()

    def _attached(self) -> int:
        home = os.getpgrp()
        keeper.become_subreaper()
        self._listen()
        try:
            self._link.start()
            with self._frozen.still:
                self._try_start()
            while not self._is_over():
                self._turn()
        finally:
            # Whatever happened: the keeper ends what is left, and holds the lock until then.
            if terminal.foreground() == self._command:
                terminal.give_to(home)
            self._settled.set()
            self._watcher.detach()
            self._end_rest()
            self._link.dismiss()
        return self._code

    def _end_rest(self) -> None:
        """After a fault of ours the command may still run, and nobody would stop it for a snapshot any more."""
        ending = Ending(self._members, self._cgroup, self._options.grace)
        while not ending.step():
            self._reap()
            time.sleep(_STEP)

    def _turn(self) -> None:
        """Wait for something to happen, and do what is due, unless the command stands still."""
        timeout = _IDLE if self._ending is None else _STEP
        wanted = [fd for fd in (self._wake.fileno(), self._link.events_fd()) if fd >= 0]
        ready, _, _ = select.select(wanted, [], [], timeout)
        if self._wake.fileno() in ready:
            self._pending += [number for number in self._wake.recv(4096) if number in FORWARDED]
        if self._link.events_fd() in ready or self._link.events_fd() < 0:
            self._hear()
        with self._frozen.still:
            if self._frozen.is_frozen:
                return
            self._reap()
            self._learn_news()
            self._deliver()
            self._follow_current()
            self._advance()

    def _hear(self) -> None:
        try:
            self._news.append(self._link.hear())
        except KeeperLostError:
            self._replace_keeper()

    def _learn_news(self) -> None:
        news, self._news = self._news, []
        for pid, status in news:
            self._learn(pid, status)

    def _learn(self, pid: int, status: int) -> None:
        """What became of a command."""
        if pid != self._command:
            return
        if os.WIFSTOPPED(status):
            self._stop_with(os.WSTOPSIG(status))
        elif self._phase is not _Phase.RESTARTING:
            self._command = 0
            self._code = os.waitstatus_to_exitcode(status)
            self._finish(self._code if self._code >= 0 else 128 - self._code)

    def _finish(self, code: int) -> None:
        """End what is left of the command, then go with `code`."""
        self._code = code
        self._phase = _Phase.FINISHING
        if self._ending is None:
            self._ending = Ending(self._members, self._cgroup, self._options.grace)

    def _is_over(self) -> bool:
        return self._phase is _Phase.FINISHING and self._ending is None

    def _advance(self) -> None:
        if self._ending is None or not self._ending.step():
            return
        self._ending = None
        if self._phase is _Phase.RESTARTING:
            self._phase = _Phase.RUNNING
            self._try_start()
            self._settled.set()

    def _try_start(self) -> None:
        """Start the command in the tree that is current. The caller holds the guard, and nothing is frozen."""
        self._tree = self._readlink()
        mine = terminal.foreground() in {os.getpgrp(), self._command} - {0}
        self._command = 0
        with contextlib.suppress(KeeperLostError):  # it will be replaced, and _follow_current() tries again
            self._command = self._link.command(foreground=mine)
            self._replaced = 0

    def _deliver(self) -> None:
        """Hand on the signals that came, also those that came while the command stood still."""
        numbers, self._pending = self._pending, []
        for number in numbers:
            if self._phase is _Phase.RUNNING:
                self._signal_command(number)
            elif number in _ENDS and self._phase is _Phase.RESTARTING:
                self._finish(128 + number)  # asked to end between two commands
            elif number in _ENDS and self._ending is not None:
                self._ending.hurry()

    def _signal_command(self, number: int) -> None:
        command = processes.look(self._command) if self._command else None
        if command is not None:
            processes.send(command, number)

    def _follow_current(self) -> None:
        """Do what a switch asks for. Without a freeze of ours it can only be one that was forced upon us."""
        if self._phase is _Phase.RESTARTING:
            return
        now = self._readlink()
        if self._phase is _Phase.FINISHING or (self._command and now in ("", self._tree)):
            self._settled.set()
            return
        self._tree = now
        if self._options.on_switch is OnSwitch.RESTART or not self._command:
            # Not started: the keeper died over it, and may have started something before.
            self._phase = _Phase.RESTARTING
            self._ending = Ending(self._members, self._cgroup, self._options.grace)
            return
        if self._options.on_switch is OnSwitch.SIGNAL:
            self._signal_command(self._options.switch_signal)
        else:
            _log.warning("current was switched to %s, though the command is not to be switched", now)
        self._settled.set()

    def _resumed(self, current: str) -> None:
        """In the watcher's thread, after the thaw: let the main thread act, and wait for it for a while."""
        self._settled.clear()
        with contextlib.suppress(BlockingIOError):  # full of wishes to wake up
            self._waker.send(b"\0")
        self._settled.wait(_SETTLE_LIMIT)

    def _replace_keeper(self) -> None:
        """Start another keeper. What the old one kept is ours now: we are the nearest subreaper above it."""
        self._replaced += 1
        if self._replaced > _REPLACEMENTS:
            raise NotUsableError("keepers die as soon as they are started")
        _log.warning("the keeper is gone: another one is started")
        self._link.start(self._members())
        lease = self._frozen.lease
        if lease is not None:
            with contextlib.suppress(KeeperLostError):
                self._link.lease(lease.start + lease.seconds)

    def _reap(self) -> None:
        """Bury what became ours when a keeper died; never in a freeze, where the dead are evidence."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._learn(pid, status)

    def _stop_with(self, number: int) -> None:
        """The terminal's user stopped the command: stop too, so that the shell comes back; go on together."""
        if number not in _TERMINAL_STOPS or terminal.terminal() is None:
            return
        had_terminal = terminal.foreground() == self._command
        if had_terminal:
            terminal.give_to(os.getpgrp())
        os.kill(os.getpid(), signal.SIGSTOP)
        if terminal.foreground() == os.getpgrp():
            terminal.give_to(self._command)
        self._signal_command(signal.SIGCONT)

    def _members(self) -> list[Process]:
        """All of the command, parents first: what descends from the keeper, and what once did."""
        with self._link.steady() as keeper_pid:
            return with_cgroup(processes.below([os.getpid()], but={keeper_pid}), self._cgroup)

    def _readlink(self) -> str:
        try:
            return str((self._root / "current").readlink())
        except OSError:
            return ""

    def _listen(self) -> None:
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        for number in (*FORWARDED, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)


def _make_cgroup(kind: FreezerKind) -> Cgroup | None:
    if kind is FreezerKind.SIGNALS:
        return None
    made = Cgroup.make(f"wvs-agent-{os.getpid()}-{secrets.token_hex(4)}")
    if made is None and kind is FreezerKind.CGROUP:
        raise NotUsableError("there is no cgroup v2 in which this process may make a group of its own")
    return made

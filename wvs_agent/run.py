"""`wvs-agent run`: any command as an agent, frozen for real, in the tree that is current (SPEC §8)."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import time
from pathlib import Path
from typing import Final

from wvs_agent import keeper, processes, terminal
from wvs_agent.cgroup import with_cgroup
from wvs_agent.command import Command
from wvs_agent.ending import Ending
from wvs_agent.frozen import FrozenCommand
from wvs_agent.keeper_link import KeeperLink, KeeperLostError, Kept
from wvs_agent.options import NotUsableError, OnSwitch, RunOptions, make_cgroup
from wvs_agent.processes import Process
from wvs_agent.ready import readable
from wvs_agent.watcher import QuiesceWatcher

_log = logging.getLogger(__name__)

FORWARDED: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
                    signal.SIGALRM, signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP, signal.SIGIO)  # fmt: skip
_IDLE: Final = 2.0
"""Seconds between two looks at `current` when nothing happens."""
_STEP: Final = 0.02
_REPLACEMENTS: Final = 10
"""Keepers in a row that may die before one has started a command."""
_SETTLE_LIMIT: Final = 3.0
"""Seconds that the answer to a resume waits for the restart, so that what it tells of open files is the outcome."""


class Run:
    """One command in one workspace: who watches it, who keeps it, and the turns in which it is served.

    run() once, in the main thread.
    """

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._root = Path(os.path.realpath(options.workspace))
        self._cgroup = make_cgroup(options.freezer)
        group = self._cgroup.path if self._cgroup else None
        self._link = KeeperLink(Kept(self._root, secrets.token_hex(16), options.grace, group, options.argv))
        self._command = Command(options, self._root, self._link, self._members, self._cgroup)
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
            on_lock=self._link.lock,
            handles=self._frozen.handles,
        )
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
                self._command.start()
            while not self._command.is_over:
                self._turn()
        finally:
            # Whatever happened: the keeper ends what is left, and holds the lock until then.
            if terminal.foreground() == self._command.pid:
                terminal.give_to(home)
            self._command.settled.set()
            self._watcher.detach()
            self._end_rest()
            self._link.dismiss()
        return self._command.code

    def _end_rest(self) -> None:
        """After a fault of ours the command may still run, and nobody would stop it for a snapshot any more."""
        ending = Ending(self._members, self._cgroup, self._options.grace)
        while not ending.step():
            self._reap()
            time.sleep(_STEP)

    def _turn(self) -> None:
        """Wait for something to happen, and do what is due, unless the command stands still."""
        timeout = _STEP if self._command.is_ending else _IDLE
        wanted = [fd for fd in (self._wake.fileno(), self._link.events_fd()) if fd >= 0]
        ready = readable(wanted, timeout)
        if self._wake.fileno() in ready:
            self._pending += [number for number in self._wake.recv(4096) if number in FORWARDED]
        if self._link.events_fd() in ready or self._link.events_fd() < 0:
            self._hear()
        with self._frozen.still:
            if not self._frozen.is_frozen:
                self._serve()

    def _serve(self) -> None:
        """What is due, also what came while the command stood still. The caller holds the guard."""
        self._reap()
        news, self._news = self._news, []
        for pid, status in news:
            self._command.learn(pid, status)
        numbers, self._pending = self._pending, []
        self._command.deliver(numbers)
        self._command.follow_current()
        if self._command.advance():
            self._replaced = 0

    def _hear(self) -> None:
        try:
            self._news.append(self._link.hear())
        except KeeperLostError:
            self._replace_keeper()

    def _resumed(self, current: str) -> None:
        """In the watcher's thread, after the thaw: let the main thread act, and wait for it for a while."""
        self._command.settled.clear()
        with contextlib.suppress(BlockingIOError):  # full of wishes to wake up
            self._waker.send(b"\0")
        self._command.settled.wait(_SETTLE_LIMIT)

    def _replace_keeper(self) -> None:
        """Start another keeper. What the old one kept is ours now: we are the nearest subreaper above it."""
        self._replaced += 1
        if self._replaced > _REPLACEMENTS:
            raise NotUsableError("keepers die as soon as they are started")
        _log.warning("the keeper is gone: another one is started", extra={"event": "keeper.gone"})
        lease = self._frozen.lease
        end = None if lease is None else lease.start + lease.seconds
        self._link.start(self._members(), lease_end=end)

    def _reap(self) -> None:
        """Bury what became ours when a keeper died; never in a freeze, where the dead are evidence."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._command.learn(pid, status)

    def _members(self) -> list[Process]:
        """All of the command, parents first: what descends from the keeper, and what once did."""
        with self._link.steady() as keeper_pid:
            return with_cgroup(processes.below([os.getpid()], but={keeper_pid}), self._cgroup)

    def _listen(self) -> None:
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        for number in (*FORWARDED, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

"""The keeper: the small second process between `wvs-agent run` and its command (SPEC §8; H9).

It starts the command, so that all of the command's descendants stay its own, and reaps them. If `wvs-agent` dies or
hangs, it thaws them when the lease ends; if it died, it ends them then, so that nothing runs unwatched and nothing
stays frozen. It holds the agent lock until it ends, so that no freeze believes that nobody is there (H4).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from wvs_agent import config, processes, protocol, terminal
from wvs_agent.cgroup import Cgroup, with_cgroup
from wvs_agent.ending import Ending
from wvs_agent.freezer import thaw_all
from wvs_agent.processes import Process
from wvs_agent.ready import readable

MESSAGE_BYTES: Final = 64 * 1024
HUNG_MARGIN: Final = 1.0
"""Seconds after the end of the lease in which a living wvs-agent may thaw by itself."""
_STEP: Final = 0.02
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NAME: Final = 15
_IGNORED: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP, signal.SIGTTIN,
                   signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)  # fmt: skip


def become_subreaper() -> None:
    """From now on whoever descends from this process and loses its parent is this process's child."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Keeper:
    """What `words` asks is done and answered, one message each; `events` hears what became of the command."""

    def __init__(self, words: socket.socket, events: socket.socket, settings: dict[str, Any], argv: list[str]) -> None:
        self._words = words
        self._events = events
        self._argv = argv
        self._root = Path(settings["root"])
        self._mark: str = settings["mark"]
        self._grace: float = settings["grace"]
        self._cgroup = Cgroup(Path(settings["cgroup"])) if settings["cgroup"] else None
        self._adopted = [Process(*each) for each in settings["adopted"]]
        self._is_second: bool = settings["second"]
        self._command = 0
        self._lease_end: float | None = settings["lease_end"]
        self._thawed_by_us = False
        self._answers: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
            "start": self._start,
            "lease": self._lease,
            "thawed": self._thawed,
            "lock": lambda _: {"ok": True},
        }

    def run(self) -> None:
        """Until wvs-agent is gone and nothing of the command lives."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        while True:
            ready = readable([self._words.fileno(), wake_read], self._patience())
            if wake_read in ready:
                os.read(wake_read, 4096)
            if self._words.fileno() in ready and not self._answer():
                break
            self._thaw_if_overdue()
            self._reap()
        self._end_all(wake_read)

    def _answer(self) -> bool:
        """Do what is asked; False when nobody is there any more to ask."""
        try:
            data, fds, _, _ = socket.recv_fds(self._words, MESSAGE_BYTES, 1)
        except OSError:
            return False
        if not data:
            return False
        for fd in fds:  # the agent lock's, which was lost and taken again: held until we end, and by new commands
            os.set_inheritable(fd, True)
        asked = json.loads(data)
        answer = self._answers[asked["do"]](asked)
        with contextlib.suppress(OSError):
            self._words.send(json.dumps(answer).encode())
        return True

    def _start(self, asked: dict[str, Any]) -> dict[str, Any]:
        pid = os.fork()
        if pid == 0:
            self._become_command(foreground=asked["foreground"])
        with contextlib.suppress(OSError):  # whoever comes first; the other has nothing left to do
            os.setpgid(pid, pid)
        self._command = pid
        return {"pid": pid}

    def _lease(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A freeze, or its renewal, up to `end`: until then nobody is thawed here, and nobody reaped."""
        if not self._thawed_by_us:
            self._lease_end = asked["end"]
        return {"ok": not self._thawed_by_us}

    def _thawed(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._lease_end, self._thawed_by_us = None, False
        return {"ok": True}

    def _patience(self) -> float | None:
        if self._lease_end is None or self._thawed_by_us:
            return None
        return max(self._lease_end + HUNG_MARGIN - protocol.clock(), 0.0)

    def _thaw_if_overdue(self) -> None:
        if self._patience() == 0.0:
            self._thawed_by_us = True
            thaw_all(self._members, self._cgroup)

    def _reap(self) -> None:
        """Bury the dead, but not in a freeze, where they are evidence; tell what became of the command itself."""
        while self._lease_end is None:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._command:
                with contextlib.suppress(OSError):
                    self._events.send(json.dumps({"pid": pid, "status": status}).encode())

    def _members(self) -> list[Process]:
        """What descends from the command; after a first keeper's death also what only its marks still tell of."""
        strays = [process for process in self._adopted if not processes.is_dead(process)]
        if self._is_second:
            known = {process.pid for process in strays}
            marked = processes.carrying(config.mark_of(self._mark))
            strays += [each for each in marked if each.pid not in known and each.pid != os.getpid()]
        below = processes.below([os.getpid(), *(process.pid for process in strays)])
        return with_cgroup(strays + below, self._cgroup)

    def _end_all(self, wake: int) -> None:
        if self._lease_end is not None:
            # Whoever froze them may have said FROZEN: until the lease ends an executor may count on it.
            while not self._thawed_by_us and (left := self._lease_end - protocol.clock()) > 0:
                time.sleep(left)
            thaw_all(self._members, self._cgroup)
            self._lease_end = None
        ending = Ending(self._members, self._cgroup, self._grace)
        while not ending.step():
            self._reap()
            readable([wake], _STEP)
        self._reap()
        if self._cgroup is not None:
            self._cgroup.remove()

    def _become_command(self, *, foreground: bool) -> None:
        """In the child: never returns. Ignores nothing, blocks nothing, holds no descriptor of ours but the lock."""
        code = 126
        try:
            os.setpgid(0, 0)
            if foreground:
                terminal.give_to(os.getpgrp())
            if self._cgroup is not None:
                with contextlib.suppress(OSError):  # then it is stopped by signals
                    self._cgroup.enter()
            os.chdir(self._root / "current")
            signal.set_wakeup_fd(-1)
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            environment = config.command_environment(self._root, self._mark)
            os.execvpe(self._argv[0], self._argv, environment)  # noqa: S606 - the command that the user gave, as it is
        except FileNotFoundError as error:
            code = 127
            _complain(f"{self._argv[0]}: {error.strerror}")
        except OSError as error:
            _complain(f"{self._argv[0]}: {error.strerror}")
        finally:
            os._exit(code)


def _complain(text: str) -> None:
    os.write(2, f"wvs-agent: {text}\n".encode(errors="backslashreplace"))


def main() -> None:
    """Started by wvs-agent: `WORDS_FD EVENTS_FD SETTINGS COMMAND…`."""
    words_fd, events_fd, settings, *argv = sys.argv[1:]
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    become_subreaper()
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"wvs-keeper", 0, 0, 0)
    words, events = socket.socket(fileno=int(words_fd)), socket.socket(fileno=int(events_fd))
    for each in (words, events):
        each.set_inheritable(False)
    Keeper(words, events, json.loads(settings), argv).run()


if __name__ == "__main__":
    main()

"""Staying attached: the agent lock is looked at now and then, and taken again if it was lost (SPEC §8; H4, H6)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from wvs_agent import protocol
from wvs_agent.lock import AgentLock
from wvs_agent.standstill import AgentSide, OnResume

_log = logging.getLogger(__name__)

OnLock = Callable[[int], None]
_News = TypeVar("_News", int, str)

_EVERY: Final = 1.0
_LOST_EVERY: Final = 0.2
"""Seconds between two looks at the lock; sooner while it is not ours."""


def no_children(fd: int) -> None:
    """For programs without children."""


class Attachment:
    """The lock of an agent that is attached. For one thread, the watcher's."""

    def __init__(self, lock: AgentLock, side: AgentSide, on_lock: OnLock, on_resume: OnResume) -> None:
        """`on_lock(fd)` hears of a new descriptor, `on_resume(current)` of a switch that we were not asked about."""
        self._lock = lock
        self._side = side
        self._on_lock = on_lock
        self._on_resume = on_resume
        self._due = protocol.clock() + _EVERY
        self._current = side.current()

    def confirm_if_due(self) -> None:
        """confirm(), about once a second."""
        if protocol.clock() >= self._due:
            self.confirm()

    def confirm(self) -> None:
        """Take the lock again if it was lost, as soon as it is free. Never raises.

        Until then the program goes on: whoever finds the lock taken asks us, and an executor that took nobody to be
        here finds out by its proof of quiet.
        """
        had, fd = self._lock.held, self._lock.fileno()
        has = self._lock.confirm()
        self._due = protocol.clock() + (_EVERY if has else _LOST_EVERY)
        is_another = self._lock.fileno() != fd
        if had and not has:
            said = "the agent lock of %s was lost: it is taken again as soon as it is free"
            _log.warning(said, self._side.root, extra={"event": "lock.lost"})
        if has and (is_another or not had):
            _log.warning(
                "the agent lock of %s was lost and is ours again", self._side.root, extra={"event": "lock.regained"}
            )
        if is_another:
            _tell(self._on_lock, self._lock.fileno())
        if has:
            self._notice_switch()

    def resumed(self) -> None:
        """A freeze has ended: the program knows where `current` points now."""
        self._current = self._side.current()

    def _notice_switch(self) -> None:
        now = self._side.current()
        before, self._current = self._current, now
        if now and before and now != before:
            _log.warning(
                "current was switched from %s to %s without us", before, now, extra={"event": "current.switched"}
            )
            _tell(self._on_resume, now)


def _tell(callback: Callable[[_News], None], news: _News) -> None:
    try:
        callback(news)
    except Exception:
        _log.exception("a callback failed", extra={"event": "callback.failed"})

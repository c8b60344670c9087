"""What `wvs-agent run` does when a freeze is asked: all of the command stops, is flushed, and goes on (SPEC §8)."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from wvs_agent import protocol
from wvs_agent.cgroup import Cgroup
from wvs_agent.flush import NotFlushedError, flush
from wvs_agent.freezer import Freezer, Members
from wvs_agent.handles import old_handles_of
from wvs_agent.keeper_link import KeeperLink, KeeperLostError
from wvs_agent.protocol import Control, Lease
from wvs_agent.refusal import FreezeRefusedError

_log = logging.getLogger(__name__)

STOP_MARGIN: Final = 0.5
"""Seconds of the lease that must be left when all is stopped and flushed: less, and FROZEN is not worth saying."""
_REPLACED_LIMIT: Final = 2.0
"""Seconds in which a keeper that died is replaced."""
_CURRENT_LIMIT: Final = 2.0
"""Seconds in which a mount may still show an old `current` (its cache time is one)."""
_PULSE: Final = 0.02


class SwitchRefusedError(FreezeRefusedError):
    """The freeze would end in another tree, and the command is not to be switched."""


class FrozenCommand:
    """The watcher's callbacks for a command. `still` guards what must not happen in a freeze, in any thread.

    Whoever starts, signals, reaps or ends something of the command holds `still` and has looked at `is_frozen`.
    """

    def __init__(
        self,
        root: Path,
        members: Members,
        link: KeeperLink,
        cgroup: Cgroup | None,
        *,
        refuse_switch: bool,
        resumed: Callable[[str], None],
    ) -> None:
        """`resumed(current)` is called after each thaw, outside the guard; it may wait for what the switch needs."""
        self.still: Final = threading.RLock()
        self.is_frozen = False
        self._root = root
        self._members = members
        self._link = link
        self._freezer = Freezer(members, cgroup)
        self._refuse_switch = refuse_switch
        self._resumed = resumed
        self._lease: Lease | None = None
        self._thawed = threading.Event()

    @property
    def lease(self) -> Lease | None:
        """Of the freeze that is under way; None outside of one."""
        return self._lease

    def on_lease(self, request: Control, lease: Lease) -> None:
        """The keeper knows the lease before anything relies on it: it will not thaw before its end.

        Raises KeeperLostError and TimeoutError, and then the freeze is refused or ended; SwitchRefusedError.
        """
        if self._lease is None and self._refuse_switch:
            self._refuse_if_switch(request)
        with self.still:
            self.is_frozen = True
            self._lease = lease
        end = lease.start + lease.seconds
        give_up = protocol.clock() + _REPLACED_LIMIT
        pause = threading.Event()
        while True:
            try:
                if not self._link.lease(end):
                    raise TimeoutError("the keeper has thawed the command already")
                return
            except KeeperLostError:
                if protocol.clock() > give_up:
                    raise
                pause.wait(_PULSE)  # it is being replaced

    def on_freeze(self) -> None:
        """Stop everything and flush it. Raises NotStoppedError, NotFlushedError: FROZEN must not be said."""
        lease = self._lease
        assert lease is not None  # on_lease comes first
        until = lease.start + lease.seconds - STOP_MARGIN
        # A first time while it runs: what is left for the standstill is little then.
        with contextlib.suppress(NotFlushedError, OSError):
            flush(self._members(), self._root, until)
        stopped = self._freezer.stop(until - protocol.clock())
        flush(stopped, self._root, until)

    def on_resume(self, current: str) -> None:
        """Let everything go on, then see to it that the command is in the tree that `current` names."""
        self._freezer.thaw()
        with self.still:
            self._link.thawed()
            self.is_frozen = False
            self._lease = None
        self._resumed(current)

    def handles(self, root: Path, current: str) -> tuple[str, ...]:
        """What the command still has open in other trees (H7)."""
        return old_handles_of((process.pid for process in self._members()), root, current)

    def _refuse_if_switch(self, request: Control) -> None:
        """REQUEST_FREEZE names where `current` will point at its end: elsewhere than now, and it is a switch."""
        give_up = protocol.clock() + _CURRENT_LIMIT
        pause = threading.Event()
        while (now := str((self._root / "current").readlink())) != request.current:
            if protocol.clock() > give_up:
                switch = f"{request.task_id} would switch from {now} to {request.current}"
                raise SwitchRefusedError(f"{switch}, and --on-switch refuse lets no switch happen")
            pause.wait(_PULSE)

"""Whether the agent answers through this very mount (SPEC §7): only then do this mount's counters and clock tell of it.

inotify tells of what is done through the same mount, and of nothing that is done through another one.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_IN_MOVED_TO: Final = 0x80
_IN_ONLYDIR: Final = 0x01000000
_IN_DONT_FOLLOW: Final = 0x02000000
_HEADER: Final = struct.Struct("iIII")
_PATIENCE_MS: Final = 100
"""The event comes after the rename can be seen already, by as long as a busy machine takes to schedule who renamed."""
_REMEMBERED_SECONDS: Final = 600.0
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Witness:
    """Watches for renames to one name, from its making on. Not thread-safe.

    An account has few inotify instances, 128 by default, which agents use too: where there is none, it sees nothing.
    """

    def __init__(self, path: Path) -> None:
        self._name = os.fsencode(path.name)
        self._fd: int = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._seen = False
        mask = ctypes.c_uint32(_IN_MOVED_TO | _IN_ONLYDIR | _IN_DONT_FOLLOW)
        if self._fd >= 0 and _LIBC.inotify_add_watch(self._fd, os.fsencode(path.parent), mask) < 0:
            self.close()

    @property
    def watches(self) -> bool:
        """Whether it can see anything."""
        return self._fd >= 0

    def saw(self) -> bool:
        """Whether something was renamed to it through this mount. False also where nobody can know."""
        if self._fd < 0 or self._seen:
            return self._seen
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while not self._seen and poll.poll(_PATIENCE_MS):
            self._seen = self._name in self._names()
        return self._seen

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _names(self) -> Iterator[bytes]:
        data = os.read(self._fd, 65536)
        at = 0
        while at < len(data):
            _, _, _, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            yield data[at : at + length].rstrip(b"\0")
            at += length


class Elsewhere:
    """Agents that answered through another mount lately, to be spared a copy that would not be believed. Thread-safe.

    A hint, no more: an agent may have moved, so it is forgotten after ten minutes.
    """

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def add(self, wsid: str, agent_id: str) -> None:
        """Remember it."""
        now = time.monotonic()
        with self._lock:
            self._until = {agent: until for agent, until in self._until.items() if until > now}
            self._until[wsid, agent_id] = now + _REMEMBERED_SECONDS

    def has(self, wsid: str, agent_id: str) -> bool:
        """Whether it is remembered."""
        with self._lock:
            return self._until.get((wsid, agent_id), 0.0) > time.monotonic()

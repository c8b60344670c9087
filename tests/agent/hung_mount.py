"""A file system whose server never answers: whoever touches it waits, and no signal but SIGKILL ends that."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import LIMIT
from wvs_agent.ready import readable
from wvs_project.stack.juicefs import unmount_lazily

FILE = "file"
"""The one that serve_one_open() lets somebody open."""
_NOSUID_NODEV = 2 | 4
_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_LOOKUP, _OPEN, _INIT = 1, 14, 26
_INIT_OUT = struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 0, 0, 65536, 1, 0, 0, *[0] * 8)
_ATTRIBUTES = struct.pack("<6Q10I", 2, 0, 0, 0, 0, 0, 0, 0, 0, 0o100644, 1, 0, 0, 0, 4096, 0)
_ENTRY_OUT = struct.pack("<4Q2I", 2, 1, 3600, 0, 0, 0) + _ATTRIBUTES
"""Node 2. Its name is good for an hour, what stat() says of it for no time at all."""
_OPEN_OUT = struct.pack("<QIi", 1, 1 << 5, 0)
"""FOPEN_NOFLUSH: whoever closes it does not wait."""


class HungMount:
    """A FUSE mount at `path` that nobody serves. It needs /dev/fuse and uid 0."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self._server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._server},rootmode=40000,user_id=0,group_id=0"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"wvs-test", os.fsencode(path), b"fuse", _NOSUID_NODEV, options.encode()):
            number = ctypes.get_errno()
            os.close(self._server)
            raise OSError(number, os.strerror(number), str(path))

    def serve_one_open(self) -> None:
        """Let one process open FILE, and answer nothing after it."""
        answers = {_INIT: _INIT_OUT, _LOOKUP: _ENTRY_OUT, _OPEN: _OPEN_OUT}
        asked = 0
        while asked != _OPEN:
            assert readable([self._server], LIMIT), "nobody opens it"
            _, asked, unique, *_ = _IN.unpack_from(os.read(self._server, 1 << 18))
            if asked in answers:
                os.write(self._server, _OUT.pack(_OUT.size + len(answers[asked]), 0, unique) + answers[asked])

    def let_go(self) -> None:
        """End the connection: whoever waits gets an error."""
        server, self._server = self._server, -1
        if server >= 0:
            os.close(server)


@contextmanager
def hung_mount(path: Path) -> Iterator[HungMount]:
    mount = HungMount(path)
    try:
        yield mount
    finally:
        mount.let_go()
        unmount_lazily(path)

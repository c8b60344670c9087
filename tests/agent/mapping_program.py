"""A child that maps a file shared and writable, closes it and writes: `mapping_program.py`, in its working directory.

Nothing but the mapping holds the file then, and nothing but an fsync brings out what was written: no close follows.
It imports nothing of ours: it is any program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

NAME = "mapped"
WRITTEN = b"written through the mapping"
_READ_WRITE = 1 | 2
_SHARED = 1


def write_through_a_mapping() -> None:
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    fd = os.open(NAME, os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(fd, len(WRITTEN))
    place = libc.mmap(None, len(WRITTEN), _READ_WRITE, _SHARED, fd, 0)
    os.close(fd)
    ctypes.memmove(place, WRITTEN, len(WRITTEN))


def main() -> None:
    if os.fork() == 0:
        write_through_a_mapping()
        sys.stdout.write("written\n")
        sys.stdout.flush()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()

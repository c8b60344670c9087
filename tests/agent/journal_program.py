"""A program that writes as fast as it can, with children: `journal_program.py [gentle]`, in its working directory.

Four processes stand in a ring: each writes record i to its own journal after its neighbour has written record i to
his, so that the journals of one moment differ by one record at most, in one place. One is an ordinary child, one has
a session of its own, one is a daemon that closed all it has inherited. In each a second thread writes a pair of
journals, first one, then the other. A journal has so many slots, and begins anew in the first after the last. Nothing
is ever fsync'ed. `gentle` rests for a moment after each record. It imports nothing of ours: it is any program.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import zlib
from pathlib import Path

RECORD = 64
RING = 4
SLOTS = 512
REST = 0.002 if sys.argv[1:] == ["gentle"] else 0.0


def record(name: str, number: int) -> bytes:
    body = f"{name} {number:012d}".ljust(RECORD - 9).encode()
    return body + f"{zlib.crc32(body):08x}\n".encode()


def journal(name: str) -> int:
    return os.open(name, os.O_WRONLY | os.O_CREAT, 0o644)


def write(fd: int, name: str, number: int) -> None:
    os.pwrite(fd, record(name, number), number % SLOTS * RECORD)
    if REST:
        time.sleep(REST)


def next_number(name: str) -> int:
    """It goes on where it ended."""
    lines = Path(name).read_text().splitlines() if Path(name).exists() else []
    return max((int(line.split()[1]) + 1 for line in lines), default=0)


def write_pair(place: int) -> None:
    first, second = f"pair-{place}-first", f"pair-{place}-second"
    ahead, behind = journal(first), journal(second)
    number = next_number(second)
    if next_number(first) > number:  # we go on in a tree of the past
        write(behind, second, number)
        number += 1
    while True:
        write(ahead, first, number)
        write(behind, second, number)
        number += 1


def run(place: int, before: int, after: int) -> None:
    """One of the ring: reads a byte from its neighbour, writes a record, tells the next one."""
    threading.Thread(target=write_pair, args=(place,), daemon=True).start()
    name = f"ring-{place}"
    fd, number = journal(name), next_number(name)
    due = next_number(f"ring-{RING - 1}")
    while True:
        if not os.read(before, 1):
            os._exit(0)
        if number <= due:
            write(fd, name, number)
            number += 1
        due += 1
        os.write(after, b"x")


def become_daemon(keep: set[int]) -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    for fd in range(3, 1024):
        if fd not in keep:
            try:
                os.close(fd)
            except OSError:
                continue


def main() -> None:
    pipes = [os.pipe() for _ in range(RING)]
    for place in range(1, RING):
        before, after = pipes[place - 1][0], pipes[place][1]
        if os.fork() == 0:
            if place == 2:
                os.setsid()
            if place == 3:
                become_daemon({before, after})
            run(place, before, after)
    os.write(pipes[RING - 1][1], b"x")
    sys.stdout.write("started\n")
    sys.stdout.flush()
    run(0, pipes[RING - 1][0], pipes[0][1])


if __name__ == "__main__":
    main()

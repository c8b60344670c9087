"""A journal of which every line vouches for all before it: what a snapshot holds of it is whole, or visibly is not."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAME: Final = "journal"
COUNT: Final = "count"
"""The number of the last line, in a file of its own that is written right after the journal, in place."""
_LINE: Final = 24
_COUNT_DIGITS: Final = 12


class BrokenJournalError(Exception):
    """A line does not follow from those before it."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a journal says: how many lines, their checksum, and whether the last one was cut short."""

    lines: int
    checksum: int
    torn: bool


def read(directory: Path) -> Read:
    """Check every line. Raises BrokenJournalError; a last line that was cut short is only told."""
    try:
        text = (directory / NAME).read_bytes()
    except FileNotFoundError:
        return Read(0, 0, torn=False)
    whole = len(text) // _LINE
    checksum = 0
    for number in range(whole):
        line = text[number * _LINE : (number + 1) * _LINE]
        expected, checksum = _line(number + 1, checksum)
        if line != expected:
            raise BrokenJournalError(f"{directory}: line {number + 1} of {whole} is {line!r}, not {expected!r}")
    return Read(whole, checksum, torn=len(text) % _LINE != 0)


def read_count(directory: Path) -> int:
    """What the other file says."""
    try:
        return int((directory / COUNT).read_text() or 0)
    except FileNotFoundError:
        return 0


class Writer:
    """Goes on with the journal of a tree. What a killed writer left of a line is cut off first."""

    def __init__(self, directory: Path) -> None:
        found = read(directory)
        self.lines, self._checksum = found.lines, found.checksum
        self._journal = os.open(directory / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._count = os.open(directory / COUNT, os.O_WRONLY | os.O_CREAT, 0o644)
        if found.torn:
            os.ftruncate(self._journal, found.lines * _LINE)

    def write(self) -> None:
        """One more line. Raises OSError."""
        line, checksum = _line(self.lines + 1, self._checksum)
        written = os.write(self._journal, line)
        if written != len(line):
            raise OSError(f"{written} of {len(line)} bytes written")
        self.lines, self._checksum = self.lines + 1, checksum
        os.pwrite(self._count, b"%0*d" % (_COUNT_DIGITS, self.lines), 0)

    def close(self) -> None:
        """Let go of both files."""
        os.close(self._journal)
        os.close(self._count)


def _line(number: int, before: int) -> tuple[bytes, int]:
    said = b"%012d " % number
    checksum = zlib.crc32(said, before)
    return said + b"%010d\n" % checksum, checksum

"""A journal of which every line vouches for all before it: what a snapshot holds of it is whole, or visibly is not."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAME: Final = "journal"
CELLS: Final = tuple(f"cell-{number:02d}" for number in range(16))
"""The number of the last line, in files of their own that are written right after the journal, in place, one by one."""
_LINE: Final = 24
_DIGITS: Final = 12


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


def read_cells(directory: Path) -> set[int]:
    """What the other files say: one number, unless they were copied while it was written."""
    return {int(path.read_bytes() or 0) if path.exists() else 0 for path in (directory / cell for cell in CELLS)}


class Writer:
    """Goes on with the journal of a tree. What a killed writer left half-done is mended first."""

    def __init__(self, directory: Path) -> None:
        found = read(directory)
        self.lines, self._checksum = found.lines, found.checksum
        self._journal = os.open(directory / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._cells = [os.open(directory / cell, os.O_WRONLY | os.O_CREAT, 0o644) for cell in CELLS]
        if found.torn:
            os.ftruncate(self._journal, found.lines * _LINE)
        if self.lines:
            self._fill_cells()

    def write(self) -> None:
        """One more line. Raises OSError."""
        line, checksum = _line(self.lines + 1, self._checksum)
        written = os.write(self._journal, line)
        if written != len(line):
            raise OSError(f"{written} of {len(line)} bytes written")
        self.lines, self._checksum = self.lines + 1, checksum
        self._fill_cells()

    def _fill_cells(self) -> None:
        for cell in self._cells:
            os.pwrite(cell, b"%0*d" % (_DIGITS, self.lines), 0)

    def close(self) -> None:
        """Let go of all files."""
        for fd in (self._journal, *self._cells):
            os.close(fd)


def _line(number: int, before: int) -> tuple[bytes, int]:
    said = b"%012d " % number
    checksum = zlib.crc32(said, before)
    return said + b"%010d\n" % checksum, checksum

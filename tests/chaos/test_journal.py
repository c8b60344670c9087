"""A journal that was copied in the middle of a write, or of which a piece is missing, says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import journal
from tests.chaos.journal import BrokenJournalError, Writer


def _written(directory: Path, lines: int) -> Writer:
    writer = Writer(directory)
    for _ in range(lines):
        writer.write()
    return writer


def test_a_whole_journal_is_read_and_counted(tmp_path: Path) -> None:
    _written(tmp_path, 5).close()
    found = journal.read(tmp_path)
    assert (found.lines, found.torn, journal.read_cells(tmp_path)) == (5, False, {5})


def test_a_copy_that_was_made_while_the_cells_were_written_is_seen_and_mended(tmp_path: Path) -> None:
    _written(tmp_path, 5).close()
    (tmp_path / journal.CELLS[3]).write_text("4")
    assert journal.read_cells(tmp_path) == {4, 5}
    _written(tmp_path, 0).close()
    assert journal.read_cells(tmp_path) == {5}


def test_another_process_goes_on_where_one_was_cut_off_in_the_middle_of_a_line(tmp_path: Path) -> None:
    _written(tmp_path, 3).close()
    with (tmp_path / journal.NAME).open("ab") as file:
        file.write(b"00000")
    assert journal.read(tmp_path).torn
    _written(tmp_path, 2).close()
    found = journal.read(tmp_path)
    assert (found.lines, found.torn) == (5, False)


@pytest.mark.parametrize("place", [0, 30, 100])
def test_a_changed_byte_is_seen(tmp_path: Path, place: int) -> None:
    _written(tmp_path, 5).close()
    text = bytearray((tmp_path / journal.NAME).read_bytes())
    text[place] ^= 1
    (tmp_path / journal.NAME).write_bytes(text)
    with pytest.raises(BrokenJournalError):
        journal.read(tmp_path)


def test_a_hole_is_seen(tmp_path: Path) -> None:
    _written(tmp_path, 5).close()
    file = tmp_path / journal.NAME
    text = file.read_bytes()
    line = len(text) // 5
    file.write_bytes(text[: 2 * line] + bytes(line) + text[3 * line :])
    with pytest.raises(BrokenJournalError):
        journal.read(tmp_path)

"""What a process is said to hold of an old tree: all that goes on writing there, and nothing else (SPEC §8; H7)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from executor.layout import WorkspaceLayout
from tests.agent.mapping_program import NAME
from tests.agent.running import MAPPING
from tests.agent.scene import SECOND_LIVE
from wvs_agent.documents import MAX_OLD_HANDLES
from wvs_agent.handles import old_handles, old_handles_of

pytestmark = pytest.mark.rule("H7")
OLD = "live/initial"


@pytest.fixture
def mapping(ws: WorkspaceLayout) -> Iterator[int]:
    """A child, by its process id, that works in the old tree and holds a file by a mapping alone."""
    with subprocess.Popen(MAPPING, cwd=ws.live("initial"), stdout=subprocess.PIPE, process_group=0) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"written\n"
        try:
            yield int(Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text())
        finally:
            os.killpg(program.pid, 9)


def held(found: tuple[str, ...]) -> list[str]:
    """Without the numbers of descriptors, which are anybody's."""
    return sorted(text.split(" ", 2)[2] if text.startswith("fd ") else text for text in found)


def test_open_files_of_the_old_tree_are_reported_and_no_other(ws: WorkspaceLayout, tmp_path: Path) -> None:
    twin = f"{OLD}-twin"  # the same text at its beginning, and another tree
    for tree in (SECOND_LIVE, twin):
        (ws.root / tree).mkdir()
    places = (f"{OLD}/one", f"{OLD}/deleted", f"{SECOND_LIVE}/two", f"{twin}/three", ".wvs/four")
    with ExitStack() as opened:
        for place in places:
            opened.enter_context((ws.root / place).open("w"))
        opened.enter_context((tmp_path / "elsewhere").open("w"))
        (ws.root / OLD / "deleted").unlink()
        assert held(old_handles(ws.root, SECOND_LIVE)) == [f"{twin}/three", f"{OLD}/deleted (deleted)", f"{OLD}/one"]
        assert held(old_handles(ws.root, OLD)) == [f"{twin}/three", f"{SECOND_LIVE}/two"]


def test_a_working_directory_and_a_mapping_whose_file_is_closed_are_reported(ws: WorkspaceLayout, mapping: int) -> None:
    found = old_handles_of([mapping], ws.root, SECOND_LIVE)
    assert found == (f"process {mapping} cwd {OLD}", f"process {mapping} map {OLD}/{NAME}")
    assert old_handles_of([mapping], ws.root, OLD) == ()


def test_a_process_that_is_gone_holds_nothing_and_hides_nobody_else(ws: WorkspaceLayout, mapping: int) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert len(old_handles_of([gone.pid, mapping], ws.root, SECOND_LIVE)) == 2


def test_no_more_is_reported_than_the_answer_may_hold(ws: WorkspaceLayout) -> None:
    with ExitStack() as opened:
        for number in range(MAX_OLD_HANDLES + 1):
            opened.enter_context((ws.root / OLD / str(number)).open("w"))
        assert len(old_handles(ws.root, SECOND_LIVE)) == MAX_OLD_HANDLES

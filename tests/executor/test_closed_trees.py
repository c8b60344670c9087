"""An agent may close its tree to its owner: whoever is not root can move it all the same (SPEC §2; G18)."""

from __future__ import annotations

import os
import stat
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import switch
from tests.servers import remove_tree

NOBODY = 65534
pytestmark = pytest.mark.rule("G18")


def _as_ordinary_user(work: Callable[[], None]) -> None:
    """In a process of its own, which is not root. Fails with what it raised."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("mode", [0o500, 0o000, 0o1755])
def test_a_tree_keeps_its_mode_when_it_is_published_and_when_it_is_displaced(workdir: Path, mode: int) -> None:
    workdir.chmod(0o777)

    def work() -> None:
        for name in ("staging", "live"):
            (workdir / name).mkdir()
        staged, place, displaced = workdir / "staging/tree", workdir / "live/tree", workdir / "staging/displaced"
        for path in (staged, place):
            path.mkdir()
            path.chmod(mode)
        switch.publish(staged, place, displaced=displaced)
        assert [stat.S_IMODE(path.stat().st_mode) for path in (place, displaced)] == [mode, mode]
        assert not staged.exists()
        remove_tree_as_owner(workdir, ("staging", "live"))

    _as_ordinary_user(work)


@pytest.mark.root
def test_what_belongs_to_somebody_else_is_not_opened(workdir: Path) -> None:
    workdir.chmod(0o777)
    theirs = workdir / "theirs"
    theirs.mkdir()
    theirs.chmod(0o500)

    def work() -> None:
        (workdir / "ours").mkdir()
        with pytest.raises(PermissionError):
            switch.move(theirs, workdir / "ours/tree")

    _as_ordinary_user(work)
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o500


def remove_tree_as_owner(base: Path, names: tuple[str, ...]) -> None:
    for name in names:
        for path in (base / name).iterdir():
            path.chmod(0o700)
        remove_tree(base / name)

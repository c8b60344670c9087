"""Programs that stand in the juicefs program's place until a test lets the real one run."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import eventually
from wvs_project.stack.juicefs import juicefs_program

# `exec` keeps the process id: what is held up is the child that the executor started.
_STOPPED = "kill -STOP $$\n"
_SLEEPING = "exec sleep 3600\n"
_DEAF = "trap '' TERM; while :; do sleep 3600; done\n"
_OUTLIVING = f"exec {sys.executable} -c 'import ctypes, time; ctypes.CDLL(None).prctl(1, 0); time.sleep(3600)'\n"
KINDS = {"stopped": _STOPPED, "sleeping": _SLEEPING, "deaf": _DEAF, "outliving its parent": _OUTLIVING}


@dataclass(frozen=True)
class HeldUp:
    """A `juicefs` whose `clone` does something else, until `let_go`; it notes its process id first."""

    path: Path
    noted: Path
    free: Path

    @property
    def pid(self) -> int:
        """Wait for a child to be held up; its process id."""
        return int(eventually(lambda: self.noted.exists() and self.noted.read_text().strip(), "a clone was started"))

    def let_go(self) -> None:
        """From now on the real program runs."""
        self.free.touch()


def held_up(directory: Path, kind: str) -> HeldUp:
    program = HeldUp(directory / "juicefs", directory / "pid", directory / "free")
    script = (
        f'#!/bin/sh\nif [ "$1" = clone ] && [ ! -e {program.free} ]; then\n'
        f"echo $$ > {program.noted}.new; mv {program.noted}.new {program.noted}\n{KINDS[kind]}fi\n"
        f'exec {juicefs_program()} "$@"\n'
    )
    program.path.write_text(script)
    program.path.chmod(0o755)
    return program


def is_running(pid: int) -> bool:
    """Whether the process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files(pid: int) -> set[str]:
    """What the process holds open; nothing once it has ended."""
    found = set()
    # An ordinary user may not look at a process of its own that is just ending.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.add(str(link.readlink()))
    return found

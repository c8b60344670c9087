"""What a crashed stack left behind: its processes, found by their mark, and its dead mounts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from wvs_project.stack.juicefs import is_mounted, unmount_lazily
from wvs_project.stack.processes import MARK

_GONE_SECONDS: Final = 10.0


def leftover_processes(mark: str, postgres_data: Path) -> list[psutil.Process]:
    """The processes of the stack `mark`, and PostgreSQL's in `postgres_data` (it overwrites its environment).

    Ourselves and our ancestors are never among them.
    """
    ours = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    return [process for process in _all_but(ours) if _is_marked(process, mark) or _works_in(process, postgres_data)]


def _all_but(pids: set[int]) -> Iterator[psutil.Process]:
    return (process for process in psutil.process_iter() if process.pid not in pids)


def _is_marked(process: psutil.Process, mark: str) -> bool:
    with suppress(psutil.Error, OSError):
        return process.environ().get(MARK) == mark
    return False


def _works_in(process: psutil.Process, postgres_data: Path) -> bool:
    with suppress(psutil.Error, OSError):
        return process.name() == "postgres" and process.cwd() == str(postgres_data)
    return False


def clear_leftovers(mark: str, postgres_data: Path, mounts: list[Path]) -> list[str]:
    """Kill what is left of the stack `mark` and detach its mounts; what was found, in words.

    Call only with the stack's lock held, so that a living stack is never taken for a dead one.
    Raises StackError when a mount stays.
    """
    found = leftover_processes(mark, postgres_data)
    said = [f"process {process.pid} ({_name(process)})" for process in found]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=_GONE_SECONDS)
    for mount in mounts:
        while is_mounted(mount):  # a second one may lie below the first
            said.append(f"mount {mount}")
            unmount_lazily(mount)
    return said


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return process.name()
    return "gone"

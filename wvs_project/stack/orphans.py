"""Processes that outlived the stack that started them, found by its mark or by the directory they work in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from wvs_project.stack.processes import MARK
from wvs_project.stack.waiting import wait_until

_GONE_SECONDS: Final = 10.0


def marked_processes(mark: str) -> list[psutil.Process]:
    """The processes of the stack `mark`: all that were started by it, whoever is their parent now."""
    return [process for process in _others() if _is_marked(process, mark)]


def postgres_processes(data: Path) -> list[psutil.Process]:
    """PostgreSQL's processes in the data directory `data`: they overwrite their environment, so no mark is seen."""
    return [process for process in _others() if _works_in(process, data)]


def kill_all(processes: list[psutil.Process]) -> None:
    """SIGKILL, and wait until they are over. Raises StackError if one does not die."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: all(map(is_over, processes)), limit=_GONE_SECONDS, what="the end of killed processes")


def is_over(process: psutil.Process) -> bool:
    """Whether it runs no more. Where process 1 is slow to reap, or never does, a dead one keeps its id as a zombie."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def describe(process: psutil.Process) -> str:
    """A process in words."""
    with suppress(psutil.Error):
        return f"process {process.pid} ({process.name()})"
    return f"process {process.pid}"


def _others() -> Iterator[psutil.Process]:
    """Every process but ourselves and our ancestors."""
    ours = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    return (process for process in psutil.process_iter() if process.pid not in ours)


def _is_marked(process: psutil.Process, mark: str) -> bool:
    with suppress(psutil.Error, OSError):
        return process.environ().get(MARK) == mark
    return False


def _works_in(process: psutil.Process, data: Path) -> bool:
    with suppress(psutil.Error, OSError):
        return process.name() == "postgres" and process.cwd() == str(data)
    return False

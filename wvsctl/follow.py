"""Waiting for a task, with what it does shown live where somebody looks on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from wvsctl.models import Task
from wvsctl.output import printable
from wvsctl.session import INTERRUPTED, Session


def follow(session: Session, task_id: str) -> Task:
    """The task once it is finished, however it ended. Raises WaitTimedOut; Exit(130) when interrupted."""
    session.task_id = task_id
    try:
        if not session.output.err.is_terminal:
            return session.client.wait_task(task_id, timeout=session.settings.timeout)
        with _shown(session) as on_progress:
            return session.client.wait_task(task_id, timeout=session.settings.timeout, on_progress=on_progress)
    except KeyboardInterrupt:
        session.output.say(f"no longer waiting; the task goes on. Watch it again with: wvsctl task watch {task_id}")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _shown(session: Session) -> Iterator[Callable[[Task], None]]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[counted]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=session.output.err, transient=True) as bars:
        bar = bars.add_task("", total=None, counted="")

        def show(task: Task) -> None:
            progress = task.progress or {}
            done, total = progress.get("entries_done"), progress.get("entries_total")
            counted = "" if done is None else f"{done:,} entries" if total is None else f"{done:,} of {total:,} entries"
            bars.update(bar, description=described(task), completed=done or 0, total=total or None, counted=counted)

        yield show


def described(task: Task) -> str:
    """What it does now, in a few words."""
    phase = (task.progress or {}).get("phase") if task.status == "RUNNING" else None
    tried = f", attempt {task.attempt} of {task.max_attempts}" if task.attempt > 1 else ""
    why = f" ({task.error.get('reason')})" if task.status == "FAILED" and task.error else ""
    return printable(f"{task.op} {task.status}{why}{f': {phase}' if phase else ''}{tried}")

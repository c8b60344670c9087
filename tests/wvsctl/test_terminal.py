"""wvsctl where somebody looks on: live progress, questions, Ctrl-C."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tasks.models import Task
from tasks.states import Status
from tests.factories import make_snapshot, make_task, make_workspace
from tests.wvsctl.terminal import ROOT, at_terminal

pytestmark = pytest.mark.rule("SPEC §9")


def test_a_wait_shows_phase_and_progress_live_and_the_end(api_url: str) -> None:
    task = make_task(make_workspace("demo"), status=Status.RUNNING)
    with at_terminal(api_url, "task", "watch", task.task_id) as wvsctl:
        wvsctl.until("snapshot_create RUNNING")
        progress = {"phase": "clone", "entries_done": 1200, "entries_total": 5000}
        Task.objects.filter(pk=task.pk).update(progress=progress)
        wvsctl.until("RUNNING: clone")
        wvsctl.until("1,200 of 5,000 entries")
        task.refresh_from_db()
        task.move(Status.SUCCEEDED)
        assert wvsctl.end() == 0
        assert "SUCCEEDED" in wvsctl.shown


def test_ctrl_c_ends_the_waiting_not_the_task_and_says_how_to_go_on(api_url: str) -> None:
    task = make_task(make_workspace("demo"), status=Status.RUNNING)
    with at_terminal(api_url, "task", "watch", task.task_id) as wvsctl:
        wvsctl.until("snapshot_create RUNNING")
        wvsctl.interrupt()
        assert wvsctl.end() == 130
        assert f"Watch it again with: wvsctl task watch {task.task_id}" in wvsctl.shown
    task.refresh_from_db()
    assert (task.status, task.cancel_requested) == (Status.RUNNING, False)


@pytest.mark.parametrize(("answer", "code", "tasks"), [("n", 1, 0), ("y", 0, 1)])
def test_a_switch_asks_before_it_leaves_work_behind(api_url: str, answer: str, code: int, tasks: int) -> None:
    snapshot = make_snapshot(make_workspace("demo"))
    with at_terminal(api_url, "current", "set", "demo", snapshot.snapshot_id) as wvsctl:
        wvsctl.until("Switch? [y/N]")
        wvsctl.type(f"{answer}\n")
        assert (wvsctl.end(), Task.objects.count()) == (code, tasks)
        assert f"since its newest snapshot, {snapshot.snapshot_id}" in wvsctl.shown


def test_ctrl_c_at_a_question_is_no(api_url: str) -> None:
    snapshot = make_snapshot(make_workspace("demo"))
    with at_terminal(api_url, "current", "set", "demo", snapshot.snapshot_id) as wvsctl:
        wvsctl.until("Switch? [y/N]")
        wvsctl.interrupt()
        assert (wvsctl.end(), Task.objects.count()) == (130, 0)


@pytest.mark.parametrize("colour", [True, False])
def test_no_color_is_respected(api_url: str, monkeypatch: pytest.MonkeyPatch, colour: bool) -> None:
    make_task(make_workspace("demo"), status=Status.DEAD)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    with at_terminal(api_url, "task", "list") as wvsctl:
        assert wvsctl.end() == 0
        assert ("\x1b[31m" in wvsctl.shown) is colour


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(shell: str) -> None:
    environment = {
        "_WVSCTL_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "wvsctl workspace re",
        "COMP_CWORD": "2",
        "_TYPER_COMPLETE_ARGS": "wvsctl workspace re",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    answer = subprocess.run(
        [sys.executable, "-m", "wvsctl"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "retry-init" in answer.stdout, answer

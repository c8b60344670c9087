"""scripts/smoke-test.sh: passes where all is well, and fails where something is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connections

from tasks.engine import Engine
from tasks.models import Task
from tasks.states import Status
from tests.waiting import LIMIT
from tests.wvsctl.ports import port
from workspaces.models import Workspace

pytestmark = pytest.mark.rule("SPEC §9")

ROOT = Path(__file__).resolve().parent.parent.parent
COUNTED = 'wvs_task_total{op="set_current",status="SUCCEEDED"} 1\n'


@contextmanager
def served_all(engine: Engine) -> Iterator[None]:
    """Somebody does every task that comes."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.01):
            for wsid in set(Task.objects.filter(status=Status.PENDING).values_list("workspace_id", flat=True)):
                engine.serve(wsid)
        connections.close_all()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LIMIT)


WVSCTL = f"{sys.executable} -m wvsctl"


def smoke(api_url: str, metrics_url: str, wvsctl: str = WVSCTL) -> subprocess.CompletedProcess[str]:
    addresses = {"WVS_API_URL": api_url, "WVS_METRICS_URLS": metrics_url, "WVSCTL": wvsctl}
    return subprocess.run(
        ["bash", "scripts/smoke-test.sh"],
        cwd=ROOT,
        env={**os.environ, **addresses},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_nine_steps_pass_where_all_is_well(api_url: str, engine: Engine) -> None:
    with served_all(engine), port({"/metrics": (200, COUNTED)}) as url:
        passed = smoke(api_url, url)
    assert passed.returncode == 0, passed
    assert passed.stdout.endswith("all 9 steps passed\n")
    assert Workspace.objects.get().state == "DISABLED"


def test_what_is_no_api_fails_in_the_first_step() -> None:
    with port({}) as nothing:
        failed = smoke(nothing, nothing)
    assert failed.returncode == 1
    assert "HTTP_501" in failed.stderr
    assert "the smoke test failed in step 1 of 9" in failed.stderr


def test_a_step_whose_answer_is_not_as_it_should_be_fails_though_the_command_succeeded() -> None:
    failed = smoke("http://unused", "http://unused", wvsctl="true")
    assert failed.returncode == 1
    assert 'FAILED in step 1: not it["status"] == "SUCCEEDED"' in failed.stderr
    assert "the smoke test failed in step 1 of 9" in failed.stderr

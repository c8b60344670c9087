"""RK-05: without authentication nothing listens where somebody else could reach it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.api.serving import GUNICORN, ROOT, environment
from tests.waiting import LIMIT

pytestmark = [pytest.mark.rule("RK-05"), pytest.mark.django_db]

MANAGE = [sys.executable, "manage.py"]


def run(command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=LIMIT, check=False
    )


@pytest.mark.parametrize("listener", ["WVS_LISTEN_ADDR=0.0.0.0:1", "WVS_METRICS_ADDR=[::]:1"])
def test_the_api_does_not_start_on_a_public_address(listener: str) -> None:
    name, _, address = listener.partition("=")
    ended = run([*GUNICORN, "--check-config"], **{name: address})
    assert ended.returncode != 0
    assert f"wvs: {listener}: " in ended.stderr
    assert "WVS_INSECURE_ALLOW_REMOTE" in ended.stderr


def test_it_starts_there_if_the_operator_says_so() -> None:
    public = {"WVS_LISTEN_ADDR": "0.0.0.0:1", "WVS_METRICS_ADDR": "0.0.0.0:1", "WVS_INSECURE_ALLOW_REMOTE": "1"}
    assert run([*GUNICORN, "--check-config"], **public).returncode == 0


@pytest.mark.parametrize("command", ["run_worker", "run_scheduler"])
def test_a_system_check_refuses_every_other_process_too(command: str) -> None:
    ended = run([*MANAGE, command], WVS_METRICS_ADDR="0.0.0.0:1")
    assert ended.returncode != 0
    assert "wvs.E001" in ended.stderr


def test_a_setting_that_cannot_be_stops_the_start_with_its_name() -> None:
    ended = run([*GUNICORN, "--check-config"], WVS_SHUTDOWN_TIMEOUT="soon")
    assert ended.returncode != 0
    assert "wvs: WVS_SHUTDOWN_TIMEOUT: 'soon' is not a duration" in ended.stderr

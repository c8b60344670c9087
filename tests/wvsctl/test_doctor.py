"""wvsctl doctor."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.api.serving import Served
from tests.wvsctl.ports import port
from tests.wvsctl.running import Ran, Wvsctl
from wvs_project.stack.waiting import LOOPBACK, free_port
from wvsctl import Client
from wvsctl.models import ApiVersion

pytestmark = pytest.mark.rule("SPEC §9")


def wrong(ran: Ran) -> dict[str, str]:
    """What it found wrong, with its advice."""
    return {check["name"]: check["advice"] for check in ran.read()["checks"] if not check["ok"]}


def test_all_is_well(wvsctl: Wvsctl, server: Served) -> None:
    shown = wvsctl(f"doctor --metrics-url http://{LOOPBACK}:{server.metrics_port} --json").json
    assert (shown["ok"], [check["name"] for check in shown["checks"]]) == (
        True,
        ["api", "version", "database", "latency", "clock", "ready"],
    )
    assert "version 1" in wvsctl("doctor").ok()


def test_an_api_that_does_not_answer_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WVS_API_URL", f"http://{LOOPBACK}:{free_port()}")
    ran = Wvsctl()("doctor --json")
    assert ran.code == 1
    assert "--api-url or WVS_API_URL" in wrong(ran)["api"]
    assert "does not answer" in Wvsctl()("doctor").out


def test_a_server_that_is_something_else_is_said_not_to_be_the_api() -> None:
    with port({"/v1/openapi.json": (200, "<html>")}) as url:
        ran = Wvsctl()(f"doctor --api-url {url} --json")
    assert (ran.code, set(wrong(ran))) == (1, {"api"})


def test_another_version_of_the_api_is_said(wvsctl: Wvsctl, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ApiVersion("WVS, the Workspace Versioning Service", "2", None, 0.1)
    monkeypatch.setattr(Client, "api_version", lambda self: found)
    ran = wvsctl("doctor --json")
    assert (ran.code, set(wrong(ran))) == (1, {"version"})


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_is_wrong_is_said(
    wvsctl: Wvsctl, client: Client, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    real = client.api_version()
    assert real.date is not None
    shifted = ApiVersion(real.title, real.version, real.date + timedelta(seconds=seconds), 0.1)
    monkeypatch.setattr(Client, "api_version", lambda self: shifted)
    ran = wvsctl("doctor --json")
    assert (ran.code, set(wrong(ran))) == (1, {"clock"})
    assert ("behind" if seconds > 0 else "ahead of") in ran.out


def test_a_slow_answer_is_said(wvsctl: Wvsctl, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ApiVersion("WVS, the Workspace Versioning Service", "1", None, 2.5)
    monkeypatch.setattr(Client, "api_version", lambda self: found)
    ran = wvsctl("doctor --json")
    assert (ran.code, set(wrong(ran))) == (1, {"latency"})


def test_a_process_that_is_not_ready_is_said_with_what_is_down(wvsctl: Wvsctl) -> None:
    with port({"/readyz": (503, '{"redis": "down"}\n')}) as url:
        ran = wvsctl(f"doctor --json --metrics-url {url}/metrics")
    assert (ran.code, set(wrong(ran))) == (1, {"ready"})
    assert "redis" in ran.out

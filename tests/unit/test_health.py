"""The health server: it answers by itself, says what is down, and leaves its port free (SPEC §4)."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from executor.addresses import Address
from wvs_project.health import HealthServer, open_listener, start_health_server

pytestmark = pytest.mark.rule("SPEC §4")

ANY_PORT = Address("127.0.0.1", 0)


def down() -> None:
    raise ConnectionError("nobody there\nmore of it")


def fine() -> None:
    """It answers."""


@pytest.fixture
def checks() -> dict[str, object]:
    return {"one": fine, "other": fine}


@pytest.fixture
def server(checks: dict[str, object]) -> Iterator[HealthServer]:
    running = start_health_server(ANY_PORT, checks)  # type: ignore[arg-type]
    yield running
    running.close()


def get(server: HealthServer, path: str, method: str = "GET") -> httpx.Response:
    return httpx.request(method, f"http://127.0.0.1:{server.port}{path}", trust_env=False)


def test_ready_is_when_every_check_passes(server: HealthServer, checks: dict[str, object]) -> None:
    answer = get(server, "/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "checks": {"one": "ok", "other": "ok"}})
    checks["other"] = down
    answer = get(server, "/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "checks": {"one": "ok", "other": "down: nobody there"}}
    checks["other"] = fine
    assert get(server, "/readyz").status_code == 200


def test_healthy_is_whoever_answers(server: HealthServer, checks: dict[str, object]) -> None:
    checks["one"] = down
    assert (get(server, "/healthz").status_code, get(server, "/healthz?x=1").json()) == (200, {"status": "ok"})


def test_metrics_are_prometheus(server: HealthServer) -> None:
    answer = get(server, "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "python_info" in answer.text


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/readyz/", 404), ("/v1/tasks", 404)])
def test_nothing_else_is_there(server: HealthServer, path: str, status: int) -> None:
    assert get(server, path).status_code == status


def test_head_has_no_body_and_nobody_writes(server: HealthServer) -> None:
    assert (get(server, "/readyz", "HEAD").status_code, get(server, "/readyz", "HEAD").content) == (200, b"")
    assert get(server, "/readyz", "POST").status_code == 501


def test_a_taken_port_is_an_error_and_a_closed_one_is_free(checks: dict[str, object]) -> None:
    first = start_health_server(ANY_PORT, {})
    address = Address("127.0.0.1", first.port)
    with pytest.raises(OSError, match="in use"):
        open_listener(address)
    first.close()
    start_health_server(address, {}).close()


def test_a_socket_that_listens_already_is_taken_over() -> None:
    listener = open_listener(ANY_PORT)
    server = start_health_server(ANY_PORT, {}, listener=listener)
    assert server.port == listener.getsockname()[1]
    assert get(server, "/healthz").status_code == 200
    server.close()

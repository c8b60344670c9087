"""What is counted of requests, by a real server (SPEC §11)."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.serving import GUNICORN, ROOT, Served, environment, served
from tests.factories import make_task, make_workspace
from tests.waiting import LIMIT, eventually
from wvs_project.ids import new_task_id
from wvs_project.stack.waiting import LOOPBACK, free_port

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.rule("§11")]

Labels = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("server") / "log", WVS_API_THREADS="8") as running:
        yield running


def samples(server: Served, name: str) -> Counter[Labels]:
    found: Counter[Labels] = Counter()
    for family in text_string_to_metric_families(server.health("/metrics").text):
        for sample in family.samples:
            if sample.name == name:
                found[tuple(sorted(sample.labels.items()))] += int(sample.value)
    return found


def labels(**given: str) -> Labels:
    return tuple(sorted(given.items()))


def requested(server: Served, before: Counter[Labels]) -> dict[Labels, int]:
    return dict(samples(server, "wvs_http_requests_total") - before)


def test_a_request_is_counted_by_its_route_its_method_and_its_code(server: Served) -> None:
    before, times = samples(server, "wvs_http_requests_total"), "wvs_http_request_duration_seconds_count"
    took = samples(server, times)
    wsid = make_workspace().wsid
    server.request("GET", f"/v1/workspaces/{wsid}")
    server.request("GET", "/v1/workspaces/nobodys")
    server.post(f"/v1/workspaces/{wsid}/snapshots")
    one = {"route": "/v1/workspaces/{wsid}", "method": "GET"}
    create = {"route": "/v1/workspaces/{wsid}/snapshots", "method": "POST"}
    assert requested(server, before) == {
        labels(**one, code="200"): 1,
        labels(**one, code="404"): 1,
        labels(**create, code="202"): 1,
    }
    assert dict(samples(server, times) - took) == {labels(**one): 2, labels(**create): 1}


def test_what_nobody_serves_and_what_is_no_http_has_one_label(server: Served) -> None:
    before = samples(server, "wvs_http_requests_total")
    for path in ("/v1/nothing/ws-1", "/nothing", f"/v1/tasks/{new_task_id()}/nothing", "/favicon.ico"):
        assert server.request("GET", path).status_code == 404
    server.request("BREW", "/coffee")
    server.raw(b"nonsense\r\n\r\n")
    assert requested(server, before) == {
        labels(route="(none)", method="GET", code="404"): 4,
        labels(route="(none)", method="OTHER", code="404"): 1,
        labels(route="(none)", method="OTHER", code="400"): 1,
    }


def test_every_route_is_there_before_anybody_asks(server: Served) -> None:
    shown = samples(server, "wvs_http_requests_total")
    assert labels(route="/v1/workspaces/{wsid}/current:set", method="POST", code="500") in shown
    assert labels(route="/v1/tasks/{task_id}", method="GET", code="500") in shown


def test_many_at_once_are_all_counted_and_none_is_active_afterwards(server: Served) -> None:
    before = samples(server, "wvs_http_requests_total")
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda _: server.request("GET", "/v1/tasks"), range(40)))
    assert sum(requested(server, before).values()) == 40
    assert samples(server, "wvs_active_requests") == {(): 0}


def test_a_request_that_waits_is_active(server: Served) -> None:
    task = make_task(make_workspace())
    with ThreadPoolExecutor(1) as client:
        waiting = client.submit(server.request, "GET", f"/v1/tasks/{task.task_id}?wait=60")
        eventually(lambda: samples(server, "wvs_active_requests")[()] == 1, "the request to be active")
        server.post(f"/v1/tasks/{task.task_id}:cancel")
        assert waiting.result(LIMIT).json()["status"] == "CANCELED"


def test_several_processes_that_each_would_count_for_themselves_are_refused(tmp_path: Path) -> None:
    addresses = {name: f"{LOOPBACK}:{free_port()}" for name in ("WVS_LISTEN_ADDR", "WVS_METRICS_ADDR")}
    ran = subprocess.run(
        [*GUNICORN, "--workers", "2"],
        cwd=ROOT,
        env=environment(**addresses),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ran.returncode != 0
    assert "one process with threads" in ran.stderr

"""A real API for all tests of this directory, and an engine around a fake executor."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from dramatiq import get_broker

from tasks.doorbell import QUEUE
from tasks.engine import Engine
from tasks.locks import GuardPool
from tasks.supervisor import Supervisor
from tests.api.serving import Served, served
from tests.fakes import FakeExecutor
from tests.wvsctl.running import Wvsctl
from wvs_project.db import direct_conninfo
from wvs_project.stack.waiting import LOOPBACK
from wvsctl.client import Client
from wvsctl.config import VARIABLES


@pytest.fixture(scope="package")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all, which nobody stops."""
    with served(tmp_path_factory.mktemp("wvsctl") / "log") as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration but the test's; and what Django would log to stderr in this process is not wvsctl's."""
    monkeypatch.setattr(logging.getLogger("httpx"), "disabled", True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    for variable in (*VARIABLES.values(), "WVS_CONFIG"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def api_url(server: Served, transactional_db: None) -> Iterator[str]:
    """Where the API is; no bell waits afterwards."""
    yield f"http://{LOOPBACK}:{server.port}"
    get_broker().flush(QUEUE)


@pytest.fixture
def wvsctl(api_url: str, monkeypatch: pytest.MonkeyPatch) -> Wvsctl:
    monkeypatch.setenv("WVS_API_URL", api_url)
    return Wvsctl()


@pytest.fixture
def client(api_url: str) -> Iterator[Client]:
    with Client(api_url) as made:
        yield made


@pytest.fixture
def fake() -> FakeExecutor:
    return FakeExecutor()


@pytest.fixture
def engine(fake: FakeExecutor, transactional_db: None) -> Iterator[Engine]:
    made = Engine(
        executor=fake,
        guards=GuardPool(direct_conninfo(application_name="wvs-guard")),
        supervisor=Supervisor(direct_conninfo(application_name="wvs-supervisor")),
        backoff_base=5.0,
    )
    yield made
    made.close()

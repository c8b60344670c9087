"""A real Chromium on a real server, with an engine whose executor is the fake one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tasks.engine import Engine
from tasks.locks import GuardPool
from tasks.supervisor import Supervisor
from tests.browser.seen import Seen
from tests.fakes import FakeExecutor
from wvs_project.db import direct_conninfo

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Its loop runs in this thread, which Django then takes for one that must not wait: while it runs, it may."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            yield browser
            browser.close()


@pytest.fixture(autouse=True)
def cheap_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def seen(chromium: Browser, live_server: LiveServer) -> Iterator[Seen]:
    """A page of somebody who is not logged in. It fails the test if anything went wrong in the browser meanwhile."""
    context = chromium.new_context(base_url=live_server.url, viewport={"width": 1440, "height": 1210})
    page = Seen(context.new_page(), live_server.url)
    yield page
    context.close()
    assert page.complaints == []


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(
        executor=FakeExecutor(),
        guards=GuardPool(direct_conninfo(application_name="wvs-guard")),
        supervisor=Supervisor(direct_conninfo(application_name="wvs-supervisor")),
        backoff_base=5.0,
    )
    yield made
    made.close()


@pytest.fixture
def screenshots() -> str | None:
    """Where to put them, if anywhere."""
    return os.environ.get("WVS_SCREENSHOTS")

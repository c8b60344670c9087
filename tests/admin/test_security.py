"""Who may try to log in how often, what a browser is told, and that none of it reaches the API (SPEC §10, ADR 16)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any, cast

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models import F
from django.test import Client, RequestFactory
from django.utils import timezone

from executor.contract import StopSignal
from executor.upkeep import Upkeep
from snapshots.chores import RetentionChore
from tasks.chores import Tools
from tasks.locks import GuardPool
from tests.api.serving import ROOT, environment
from tests.factories import new_wsid
from tests.waiting import LIMIT
from wvs_project.config import get_config
from wvs_project.http import logins

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §10")]

PASSWORD = "correct horse battery staple"
LOGIN = "/admin/login/"
TRIES = 5
_ASK = """
import django, json
django.setup()
from django.test import Client
client = Client(headers={"X-Forwarded-Proto": "https", "Host": "localhost"})
believed = client.get("/admin/login/").wsgi_request.is_secure()
page = client.get("/admin/login/", secure=True)
cookie = page.cookies["wvs_csrf"]
hsts = "Strict-Transport-Security" in page.headers
print(json.dumps({"secure": bool(cookie["secure"]), "hsts": hsts, "believed": believed}))
"""


@pytest.fixture
def root(settings: Any) -> User:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # in no time
    return User.objects.create_superuser("root", password=PASSWORD)


def try_login(name: str = "root", password: str = "wrong", *, address: str = "192.0.2.1") -> Any:
    return Client().post(LOGIN, {"username": name, "password": password}, REMOTE_ADDR=address)


def fail(times: int) -> list[int]:
    return [try_login().status_code for _ in range(times)]


def policy(response: Any) -> dict[str, list[str]]:
    parts = [part.split() for part in response.headers["Content-Security-Policy"].split(";")]
    return {name: sources for name, *sources in parts}


def test_who_fails_five_times_waits_also_with_the_right_password(root: User) -> None:
    assert fail(TRIES) == [200] * (TRIES - 1) + [429]
    refused = try_login(password=PASSWORD)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "900")
    assert "wvs_session" not in refused.cookies


def test_neither_another_name_nor_the_same_name_elsewhere_waits_with_them(root: User) -> None:
    User.objects.create_superuser("other", password=PASSWORD)
    fail(TRIES)
    assert try_login("other", PASSWORD).status_code == 302
    assert try_login(password=PASSWORD, address="192.0.2.2").status_code == 302


def test_the_wait_ends_and_trying_meanwhile_does_not_prolong_it(root: User) -> None:
    fail(TRIES + 1)
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=14))
    assert try_login(password=PASSWORD).status_code == 429
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=1, seconds=1))
    assert try_login(password=PASSWORD).status_code == 302


def test_a_login_that_succeeds_forgets_the_failures(root: User) -> None:
    fail(TRIES - 1)
    assert try_login(password=PASSWORD).status_code == 302
    assert fail(TRIES - 1) == [200] * (TRIES - 1)


@pytest.mark.parametrize(("behind_tls", "address"), [(True, "192.0.2.9"), (False, "127.0.0.1")])
def test_an_address_is_the_one_our_proxy_saw_and_never_the_one_a_client_claims(
    monkeypatch: pytest.MonkeyPatch, behind_tls: bool, address: str
) -> None:
    monkeypatch.setattr(logins, "get_config", lambda: type("Given", (), {"behind_tls": behind_tls}))
    claimed = RequestFactory().get("/", headers={"X-Forwarded-For": "198.51.100.1, 192.0.2.9"})
    assert logins.address_of(claimed) == address


@pytest.mark.parametrize("path", [LOGIN, "/admin/", "/v1/docs", "/v1/workspaces"])
def test_a_browser_takes_nothing_from_elsewhere_and_runs_no_inline_script(
    root: User, client: Client, path: str
) -> None:
    client.force_login(root)
    page = client.get(path)
    directives = policy(page)
    assert directives["default-src"] == ["'self'"]
    assert directives["script-src"] == ["'self'", "'unsafe-eval'"]
    assert directives["frame-ancestors"] == directives["base-uri"] == directives["object-src"] == ["'none'"]
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", [LOGIN, "/admin/", "/admin/auth/user/", "/admin/auth/user/add/", "/admin/search/"])
def test_no_page_of_the_admin_is_cached(root: User, client: Client, path: str) -> None:
    client.force_login(root)
    assert "no-store" in client.get(path).headers["Cache-Control"]


def test_the_cookies_of_a_login_are_for_the_admin_and_no_script(root: User) -> None:
    page = try_login(password=PASSWORD)
    for name in ("wvs_session", "wvs_csrf"):
        cookie = page.cookies[name]
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/admin/", True, "Lax")
    assert page.cookies["wvs_session"]["max-age"] == 12 * 3600


def test_a_login_that_is_over_leaves_nothing_behind(root: User, stop: StopSignal) -> None:
    for _ in range(2):
        try_login(password=PASSWORD)
    kept, over = Session.objects.all()
    Session.objects.filter(pk=over.pk).update(expire_date=timezone.now() - timedelta(seconds=1))
    RetentionChore().run(Tools(cast(Upkeep, None), cast(GuardPool, None), stop, get_config()))
    assert list(Session.objects.all()) == [kept]


def test_the_admin_refuses_a_form_that_came_from_elsewhere(root: User) -> None:
    stranger = Client(enforce_csrf_checks=True)
    stranger.force_login(root)
    assert stranger.post(LOGIN, {"username": "root", "password": PASSWORD}).status_code == 403


def test_the_api_knows_no_session_and_asks_for_no_token(root: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(root)
    body = {"wsid": new_wsid(), "owner": "team-a"}
    answer = browser.post("/v1/workspaces", body, content_type="application/json", headers={"Idempotency-Key": "k"})
    assert answer.status_code == 202
    assert not answer.cookies
    assert "Cookie" not in answer.headers.get("Vary", "")


@pytest.mark.parametrize(
    ("said", "secure", "tls"),
    [
        ({"WVS_LISTEN_ADDR": "127.0.0.1:8080"}, False, False),
        ({"WVS_LISTEN_ADDR": "0.0.0.0:8080", "WVS_INSECURE_ALLOW_REMOTE": "1"}, True, False),
        ({"WVS_LISTEN_ADDR": "127.0.0.1:8080", "WVS_BEHIND_TLS": "1"}, True, True),
    ],
)
def test_cookies_need_tls_everywhere_but_on_loopback_and_hsts_where_tls_is(
    said: dict[str, str], secure: bool, tls: bool
) -> None:
    settings = {"DJANGO_SETTINGS_MODULE": "wvs_project.settings", "PATH": os.environ["PATH"]}
    asked = subprocess.run(
        [sys.executable, "-c", _ASK],
        cwd=ROOT,
        env={**environment(**said), **settings},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    told = json.loads(asked.stdout.splitlines()[-1])
    assert told == {"secure": secure, "hsts": tls, "believed": tls}

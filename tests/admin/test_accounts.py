"""Accounts are made in the admin, and every list that it offers is there (SPEC §9)."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client

from tests.admin.people import VIEWERS, Browser, form_in, list_of, make_user, page_of

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §9")]

PASSWORD = "correct horse battery staple"


@pytest.fixture
def superuser(settings: Any) -> Browser:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return Browser(make_user(is_superuser=True))


def test_every_list_that_the_admin_offers_answers(superuser: Browser, settings: Any) -> None:
    offered = [model._meta.label_lower.replace(".", "_") for model in admin.site._registry]
    assert {"tasks_task", "auth_user", "auth_group"} <= set(offered)
    # Tables that no migration makes are there in tests only.
    assert not {model._meta.app_label for model in admin.site._registry} & set(settings.MIGRATION_MODULES)
    for model in offered:
        superuser.get(list_of(model))


def test_an_account_is_made_and_put_into_a_group_and_logs_in(superuser: Browser) -> None:
    url = "/admin/auth/user/add/"
    given = {"username": "ada", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert superuser.post(url, form_in(superuser.get(url), only=("csrfmiddlewaretoken",)) | given).status_code == 302
    user = User.objects.get(username="ada")
    url = page_of("auth_user", user.pk)
    viewers = Group.objects.get(name=VIEWERS).pk
    more = {"username": "ada", "is_active": "on", "is_staff": "on", "groups": [viewers]}
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", "last_login_0": "", "last_login_1": ""}
    sent = form_in(superuser.get(url), only=("csrfmiddlewaretoken",)) | more | joined
    assert superuser.post(url, sent).status_code == 302
    theirs = Client()
    assert theirs.post("/admin/login/", {"username": "ada", "password": PASSWORD}).status_code == 302
    assert theirs.get(list_of("tasks_task")).status_code == 200


def test_a_short_password_is_refused(superuser: Browser) -> None:
    url = "/admin/auth/user/add/"
    given = {
        "username": "ada",
        "usable_password": "true",
        "password1": "horse7battery"[:11],
        "password2": "horse7batte",
    }
    page = superuser.post(url, form_in(superuser.get(url), only=("csrfmiddlewaretoken",)) | given)
    assert "at least 12 characters" in page.content.decode()
    assert not User.objects.filter(username="ada").exists()

"""Who looks at the admin, and what they see of it."""

from __future__ import annotations

import html
import importlib
import re
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from tests.factories import new_wsid

_operators = importlib.import_module("snapshots.migrations.0003_operators")
VIEWERS: str = _operators.VIEWERS
OPERATORS: str = _operators.OPERATORS


def make_user(group: str | None = None, **fields: Any) -> User:
    """Staff, in one of the admin's groups. A test that flushes the tables takes the groups: they are made again."""
    user = User.objects.create_user(new_wsid("user"), is_staff=True, **fields)
    if group is not None:
        _operators.make_groups(apps)
        user.groups.add(Group.objects.get(name=group))
    return user


class Browser:
    """A test client that is logged in and checks CSRF, as a browser's requests are checked."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.client = Client(enforce_csrf_checks=True)
        self.client.force_login(user)

    def get(self, url: str, expect: int = 200) -> str:
        answer = self.client.get(url)
        assert answer.status_code == expect, answer.content[:500]
        return answer.content.decode()

    def post(self, url: str, fields: dict[str, Any]) -> Any:
        return self.client.post(url, fields)

    def press(self, url: str) -> list[str]:
        """Press a button of a page: the confirmation, then its form. What is said on the screen afterwards."""
        return self.send(url, form_in(self.get(url)))

    def send(self, url: str, form: dict[str, Any]) -> list[str]:
        """Send a confirmation's form. What is said on the screen afterwards."""
        answer = self.post(url, form)
        assert answer.status_code == 302, answer.content[:500]
        return said_in(self.client.get(answer.url))

    def choose(self, model: str, action: str, keys: list[str]) -> Any:
        """Run an action of a list for some of its rows: the answer is the confirmation's page."""
        url = reverse(f"admin:{model}_changelist")
        form = form_in(self.get(url), only=("csrfmiddlewaretoken",))
        return self.post(url, {**form, "action": action, "index": "0", "_selected_action": keys})


def page_of(model: str, key: object) -> str:
    """The address of a row's page."""
    return reverse(f"admin:{model}_change", args=[key])


def list_of(model: str, query: str = "") -> str:
    """The address of a list."""
    return reverse(f"admin:{model}_changelist") + query


def button(model: str, key: object, action: str) -> str:
    """The address of an action of a row's page."""
    return page_of(model, key).removesuffix("change/") + f"{action}/"


def form_in(page: str, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """The hidden fields of a page's forms."""
    fields: dict[str, Any] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page):
        if only and name not in only:
            continue
        if name == "_selected_action":
            fields.setdefault(name, []).append(html.unescape(value))
        else:
            fields[name] = html.unescape(value)
    return fields


def said_in(answer: Any) -> list[str]:
    """The messages that a page shows."""
    shown = [str(message) for message in get_messages(answer.wsgi_request)]
    page = html.unescape(answer.content.decode())
    assert all(html.unescape(text) in page for text in shown), shown
    return shown

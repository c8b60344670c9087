"""A page in a browser, and everything that the browser did not like about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Response

from tests.admin.people import make_user
from tests.waiting import LIMIT

PASSWORD = "correct horse battery staple"


class Seen:
    """`complaints`: errors of scripts, violations of the policy, requests to other hosts, answers that failed."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.set_default_timeout(LIMIT * 1000)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("request", self._asked)
        page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.complaints.append(f"request to {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} of {response.url}")

    def log_in(self, group: str | None, **fields: Any) -> User:
        """Through the form, as a new member of staff in the group."""
        user = make_user(group, password=PASSWORD, **fields)
        self.page.goto("/admin/")
        self.page.fill("input[name=username]", user.username)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(f"{self.url}/admin/")
        return user

    def press(self, label: str) -> None:
        """A button of the page, and Yes on what is asked then."""
        self.buttons(label).click()
        self.page.get_by_role("button", name=f"Yes: {label}").click()
        self.page.wait_for_load_state()

    def buttons(self, label: str) -> Locator:
        """Those of the page's actions with this label, which an icon's name precedes."""
        return self.page.get_by_role("link", name=re.compile(rf"(^|\s){label}\s*$"))

    def text(self) -> str:
        """What can be read."""
        return self.page.inner_text("#main")

    def is_dark(self) -> bool:
        """By what is painted."""
        paint = "getComputedStyle(document.querySelector('#main')).backgroundColor"
        # oklch or rgb: a canvas turns either into numbers.
        script = (
            "() => { const c = document.createElement('canvas').getContext('2d');"
            f" c.fillStyle = {paint}; c.fillRect(0, 0, 1, 1); return c.getImageData(0, 0, 1, 1).data[0]; }}"
        )
        return int(self.page.evaluate(script)) < 128

    def shoot(self, directory: str | None, name: str) -> None:
        """A picture for the documentation, if a directory is given."""
        if directory:
            self.page.screenshot(path=Path(directory) / f"{name}.png")

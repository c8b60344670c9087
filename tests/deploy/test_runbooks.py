"""What the runbooks and docs/deployment.md tell an operator to type, there is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import typer
from django.core.management import get_commands

from tests.deploy.installation import services
from tests.deploy.test_alerts import RUNBOOKS
from wvs_project.stack.config import SOURCES
from wvsctl.cli import app

PAGES = [*sorted(RUNBOOKS.glob("*.md")), SOURCES / "docs" / "deployment.md"]


def said(pattern: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for found in re.findall(pattern, page.read_text()):
            yield page.name, found


def test_every_wvsctl_command_exists() -> None:
    groups = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for page, command in said(r"wvsctl ([a-z]+(?: [a-z-]+)?)"):
        name, _, below = command.partition(" ")
        assert name in groups, (page, command)
        assert not below or below in getattr(groups[name], "commands", {below: None}), (page, command)


def test_every_management_command_exists() -> None:
    assert {
        (page, command) for page, command in said(r"manage\.py ([a-z_]+)") if command not in get_commands()
    } == set()


def test_every_service_that_is_to_be_looked_at_exists() -> None:
    named = said(r"docker compose (?:exec|restart|logs(?: --[a-z]+ \S+)*|ps(?: -[a-z]+)?) ([a-z][a-z-]*)")
    assert {(page, service) for page, service in named if service not in services()} == set()


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        assert [target for target in targets if not (page.parent / target).exists()] == [], page.name

"""Every management command is in docs/commands.md with all its options, and has a test (SPEC §9)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

pytestmark = pytest.mark.rule("§9")

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "commands.md").read_text(), re.M | re.S))
OURS = {name: app for name, app in get_commands().items() if app in ("tasks", "workspaces", "snapshots")}
DJANGOS = {"--help", "-h", "--version", "-v", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color",
           "--force-color", "--skip-checks"}  # fmt: skip


def section_of(name: str) -> str:
    found = [text for title, text in SECTIONS.items() if name in title.split(", ")]
    assert len(found) == 1, f"docs/commands.md has no section {name}"
    return str(found[0])


def test_our_commands_are_found() -> None:
    assert {"retry_tasks", "cleanup", "wvs_index", "detach_agent", "check_invariants", "create_demo"} <= OURS.keys()


@pytest.mark.parametrize("name", OURS)
def test_a_command_is_documented_with_an_example_and_all_its_options(name: str) -> None:
    section = section_of(name)
    assert f"    manage.py {name}" in section
    parser = load_command_class(OURS[name], name).create_parser("manage.py", name)
    options = {option for action in parser._actions for option in action.option_strings} - DJANGOS
    assert {option for option in options if option not in section} == set()


@pytest.mark.parametrize("name", OURS)
def test_a_command_has_help_and_a_test(name: str) -> None:
    assert load_command_class(OURS[name], name).help
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__).resolve()]
    assert any(f'"{name}"' in path.read_text() for path in tests)


def test_no_section_is_of_a_command_that_is_not_there() -> None:
    titles = {name for title in SECTIONS for name in title.split(", ")}
    assert titles == OURS.keys()

"""Every command is in docs/wvsctl.md and has a test; what the documentation says of the JSON is what there is."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.wvsctl.running import KEYS_OF_A_WRITE, Wvsctl
from wvsctl import models
from wvsctl.cli import app
from wvsctl.config import VARIABLES
from wvsctl.version import VERSION
from wvsctl.writes import Write

pytestmark = pytest.mark.rule("SPEC §9")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOCUMENT = (ROOT / "docs" / "wvsctl.md").read_text()
TESTS = "\n".join(path.read_text() for path in HERE.glob("test_*.py") if path != Path(__file__).resolve())


def commands_below(group: Any, *path: str) -> list[tuple[str, Any]]:
    """The commands with their names in full."""
    found: list[tuple[str, Any]] = []
    for name, command in group.commands.items():
        below = getattr(command, "commands", None)
        found += [(" ".join((*path, name)), command)] if below is None else commands_below(command, *path, name)
    return found


COMMANDS = commands_below(typer.main.get_command(app))
NAMES = [name for name, _ in COMMANDS]


def section_of(name: str) -> str:
    """What the document says of a command: from its heading to the next one."""
    match = re.search(rf"^### `wvsctl {re.escape(name)}\b.*?(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert match, f"docs/wvsctl.md has no heading for wvsctl {name}"
    return match[0]


def test_there_are_the_commands_of_the_specification() -> None:
    assert set(NAMES) == {
        *(f"workspace {verb}" for verb in ("create", "get", "list", "retry-init", "disable")),
        *(f"snapshot {verb}" for verb in ("create", "list", "get", "drop")),
        *(f"current {verb}" for verb in ("get", "set")),
        *(f"task {verb}" for verb in ("list", "get", "watch", "cancel")),
        *(f"obs {verb}" for verb in ("summary", "latency", "queue", "quiesce")),
        "audit list",
        "doctor",
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_test(name: str) -> None:
    assert re.search(rf'"(--json )?{re.escape(name)}\b', TESTS), name


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=NAMES)
def test_every_command_is_documented_with_an_example_and_each_of_its_own_options(name: str, command: Any) -> None:
    section = section_of(name)
    assert f"    wvsctl {name}" in section
    shared = {"--help", "--api-url", "--json", "--output", "--config"}
    own = {option for parameter in command.params for option in parameter.opts if option.startswith("--")} - shared
    assert {option for option in own if f"`{option}" not in section} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_command_helps(name: str) -> None:
    assert "--json" in Wvsctl()(f"{name} --help").ok()


@pytest.mark.parametrize(
    "model",
    [
        models.Workspace,
        models.Snapshot,
        models.Current,
        models.Task,
        models.AuditEvent,
        models.Canceled,
        models.Disabled,
        Write,
    ],
)
def test_the_keys_of_the_json_are_documented(model: type[Any]) -> None:
    keys = ", ".join(f"`{field.name}`" for field in dataclasses.fields(model))
    assert keys in " ".join(DOCUMENT.split())


def test_the_keys_of_a_write_are_those_that_the_tests_expect() -> None:
    assert {field.name for field in dataclasses.fields(Write)} == KEYS_OF_A_WRITE


def test_every_setting_is_documented() -> None:
    assert [name for pair in VARIABLES.items() for name in pair if f"`{name}`" not in DOCUMENT] == []


def test_the_package_says_the_version_and_needs_what_is_pinned() -> None:
    package = tomllib.loads((ROOT / "wvsctl" / "pyproject.toml").read_text())["project"]
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert (package["version"], package["dependencies"]) == (VERSION, ours["cli"])


def test_every_package_of_wvsctl_is_installed() -> None:
    setuptools = tomllib.loads((ROOT / "wvsctl" / "pyproject.toml").read_text())["tool"]["setuptools"]
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "wvsctl").rglob("__init__.py")}
    assert set(setuptools["packages"]) == {name for name in there if "build" not in name}

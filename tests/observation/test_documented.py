"""What operators read names every event, span and reason that there is (SPEC §11), and none that there is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.contract import PERMANENT, FaultReason
from tasks.settlement import code_of

pytestmark = pytest.mark.rule("SPEC §11")
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "logs-and-traces.md").read_text()
RUNBOOK = (ROOT / "docs" / "runbooks" / "dead-task.md").read_text()
PACKAGES = ("executor", "observation", "snapshots", "tasks", "workspaces", "wvs_agent", "wvs_project")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
EVENT = re.compile(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*")
# What is logged under a name that is chosen beforehand.
CHOSEN = {"tasks/story.py": "task.", "tasks/scheduler.py": "scheduler.", "executor/service.py": "execute."}
# gunicorn's own words, in its own place.
THEIRS = {"wvs_project/http/server.py"}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger, and the file that it is in."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in LEVELS
                    and ast.unparse(node.func.value).endswith("log")
                ):
                    yield str(path.relative_to(ROOT)), node


def strings_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and EVENT.fullmatch(node.value):
            yield node.value


def logged() -> set[str]:
    """Every event that a process of the service may log."""
    found = {
        node.args[0].value
        for file, node in calls()
        if not file.startswith("wvs_agent") and node.args and isinstance(node.args[0], ast.Constant)
    }
    for file, prefix in CHOSEN.items():
        found |= {text for text in strings_of(ROOT / file) if text.startswith(prefix)}
    return {str(event) for event in found if EVENT.fullmatch(str(event))} - {"task.rescue"}  # that one is a span


def agents() -> set[str]:
    """Every event of wvs-agent."""
    found: set[str] = set()
    for path in (ROOT / "wvs_agent").glob("*.py"):
        text = path.read_text()
        found |= set(re.findall(r'"event": "([a-z_.]+)"', text)) | set(re.findall(r'_about\("([a-z_.]+)"', text))
    return found


def spans() -> set[str]:
    """Every name of a span but the request's, which is made of its route."""
    found: set[str] = set()
    for package in ("executor", "tasks"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            found |= set(re.findall(r'tracing\.(?:span|past)\(\s*"([a-z_.]+)"', text))
            found |= set(re.findall(r'"(executor\.(?:clone|switch_current))"', text))
    return found


def table_of(page: str, title: str) -> set[str]:
    """The names in the first column of the tables below a heading."""
    section = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row.split("|")[1])}


def test_every_line_is_an_event_with_a_name_that_stays() -> None:
    sentences = [
        f"{file}:{node.lineno}"
        for file, node in calls()
        if file not in THEIRS
        and not file.startswith("wvs_agent")
        and isinstance(node.args[0], ast.Constant)
        and not EVENT.fullmatch(str(node.args[0].value))
    ]
    assert sentences == []


def test_every_event_is_documented_and_none_that_there_is_not() -> None:
    also = {"readyz.down", "health.request"}
    assert table_of(PAGE, "Events") | also == logged() | agents()


def test_every_span_is_documented_and_none_that_there_is_not() -> None:
    assert table_of(PAGE, "Traces") == spans()


@pytest.mark.parametrize("reason", FaultReason)
def test_every_reason_for_which_a_task_dies_is_in_the_runbook_with_its_code(reason: FaultReason) -> None:
    rows = [line.split("|") for line in RUNBOOK.splitlines() if line.startswith(f"| `{reason}` |")]
    [(_, _, code, at_once, means, what_to_do, _)] = rows
    assert code.strip() == code_of(reason)
    assert at_once.strip() == ("yes" if reason in PERMANENT else "no")
    assert means.strip()
    assert what_to_do.strip()


def test_whatever_the_pages_refer_to_is_there() -> None:
    for page, directory in ((PAGE, ROOT / "docs"), (RUNBOOK, ROOT / "docs" / "runbooks")):
        headings = {re.sub(r"[^a-z -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", page, re.M)}
        for target in re.findall(r"\]\(([^)]+)\)", page):
            file, _, anchor = target.partition("#")
            assert not file or (directory / file).exists(), target
            assert file or anchor in headings, target

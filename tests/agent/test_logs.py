"""What wvs-agent says: sentences for people, JSON for programs (SPEC §11)."""

from __future__ import annotations

import ast
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executor.scene import Site
from wvs_agent import QuiesceWatcher, logs

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.rule("SPEC §11")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The process's own handlers again, after the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_a_line_of_json_says_when_how_grave_what_and_of_which_workspace(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json", "demo")
    logging.getLogger("x").warning("it is %s", "odd", extra={"event": "it.happened", "task_id": "task-1"})
    line = json.loads(capsys.readouterr().err)
    assert list(line)[:4] == ["ts", "level", "event", "wsid"]
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning", "event": "it.happened", "wsid": "demo", "task_id": "task-1", "message": "it is odd",
    }  # fmt: skip


def test_people_get_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "console", "demo")
    logging.getLogger("x").warning("it is odd", extra={"event": "it.happened"})
    logging.getLogger("x").info("it is not said")
    assert capsys.readouterr().err == "wvs-agent: it is odd\n"


def test_a_standstill_is_told_with_its_task_once_it_is_over(workdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    site = Site(workdir, "copy")
    site.init()
    request = site.create_request()
    with caplog.at_level("INFO", "wvs_agent"), QuiesceWatcher(site.ws.root, lambda: None, lambda _: None):
        site.run(request)
    [record] = [each for each in caplog.records if getattr(each, "event", "") == "freeze.ended"]
    assert (vars(record)["task_id"], record.levelname) == (request.task_id, "INFO")


@pytest.mark.parametrize("name", ["WVS_LOG_LEVEL", "WVS_LOG_FORMAT"])
def test_a_setting_that_nobody_knows_stops_the_start_with_its_name(tmp_path: Path, name: str) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "wvs_agent", "status", "--workspace", str(tmp_path)],
        cwd=ROOT, env={name: "loud"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert name in refused.stderr


def test_every_line_has_an_event() -> None:
    calls = [
        (path.name, node.lineno, {keyword.arg for keyword in node.keywords})
        for path in sorted((ROOT / "wvs_agent").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("_log.")
    ]
    assert calls
    assert [call for call in calls if "extra" not in call[2]] == []

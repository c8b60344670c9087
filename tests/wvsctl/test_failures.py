"""Whatever fails: its code, what blocks, and a next command that there is (SPEC §9)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.wvsctl.ports import port
from tests.wvsctl.running import Ran, Wvsctl
from tests.wvsctl.test_documented import COMMANDS, NAMES
from wvs_project.errors import ErrorCode
from wvs_project.stack.waiting import LOOPBACK, free_port
from wvsctl import hints
from wvsctl.errors import ApiError

pytestmark = pytest.mark.rule("SPEC §9")

TASK_ID = "task-01a20f01-ebee-7588-b8aa-93076927dd78"
TASK: dict[str, object] = {"task_id": TASK_ID, "op": "snapshot_create", "status": "RUNNING"}
ENDED: dict[str, object] = TASK | {"status": "SUCCEEDED"}
BLOCKERS: list[dict[str, object]] = [
    TASK,
    ENDED,
    {"wsid": "demo", "state": "DISABLED"},
    {"wsid": "demo", "state": "INIT_FAILED"},
    {"wsid": "demo", "state": "PROVISIONING"},
    {"wsid": "demo", "state": "ACTIVE"},
    {"wsid": "demo", "current_snapshot_id": "snap-1", "current_path": "/ws/demo/live/x"},
    {"lock": "workspace", "wsid": "demo"},
    {"constraint": "tasks_one_live_drop"},
    {"snapshot_id": "snap-1", "dropped": True},
]
"""Of every shape that the services name."""


def refused(code: ErrorCode, *blockers: Mapping[str, object], message: str = "no") -> ApiError:
    return ApiError(code=code.code, message=message, status=code.status, details={"blockers": list(blockers)})


def is_a_command(hint: str) -> bool:
    """Whether wvsctl knows it, though not what becomes of it: its words, with --help behind them."""
    words = shlex.split(hint)
    name = next(name for name in sorted(NAMES, key=len, reverse=True) if hint.startswith(f"wvsctl {name}"))
    command = dict(COMMANDS)[name]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help", "--api-url"}
    return words[0] == "wvsctl" and {word for word in words if word.startswith("--")} <= options


def test_there_is_a_next_step_for_each_code_and_for_no_other() -> None:
    assert hints.BY_CODE.keys() == {code.code for code in ErrorCode}


@pytest.mark.parametrize("command", NAMES)
@pytest.mark.parametrize("wsid", ["demo", None])
def test_after_every_refusal_of_every_command_the_next_step_is_a_command(command: str, wsid: str | None) -> None:
    for code in ErrorCode:
        for blockers in ([], *([one] for one in BLOCKERS)):
            found = hints.after_refusal(refused(code, *blockers), wsid=wsid, command=command)
            assert found, (code, blockers)
            assert all(is_a_command(hint) for hint in found), found


def test_a_key_that_was_used_for_something_else_is_not_mended_by_waiting() -> None:
    error = refused(ErrorCode.CONFLICT_IDEMPOTENT_MISMATCH, ENDED)
    assert hints.after_refusal(error, wsid="demo", command="snapshot create") == [
        "wvsctl snapshot create --help",
        f"wvsctl task get {TASK_ID}",
    ]


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("no snapshot snap-1", "wvsctl snapshot list demo"),
        ("nothing is at /v1/workspaces/demo/snapshots/snap-0", "wvsctl snapshot list demo"),
        ("no workspace demo", "wvsctl workspace list"),
    ],
)
def test_what_is_not_found_is_looked_for_where_it_would_be(message: str, hint: str) -> None:
    error = refused(ErrorCode.NOT_FOUND, message=message)
    assert hints.after_refusal(error, wsid="demo", command="snapshot get") == [hint]


def answered(code: ErrorCode, monkeypatch: pytest.MonkeyPatch, *options: str) -> Ran:
    """What wvsctl tells when the API answers like that."""
    details = {"blockers": [TASK]} if code.status in (409, 410, 412) else {}
    body = {"code": code.code, "message": "no", "request_id": "req-1", "details": details}
    monkeypatch.setenv("WVS_RETRY_FOR", "0")
    with port({f"/v1/tasks/{TASK_ID}": (code.status, json.dumps(body))}) as url:
        return Wvsctl()(f"task get {TASK_ID} --api-url {url}", *options)


@pytest.mark.parametrize("code", ErrorCode)
def test_each_code_is_told_with_what_blocks_and_the_next_command(
    code: ErrorCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = answered(code, monkeypatch)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"wvsctl: {code.code}: no\n")
    assert "  request id: req-1\n" in ran.err
    assert ("  blocked by: task " in ran.err) == (code.status in (409, 410, 412))
    assert "  try: wvsctl " in ran.err
    error = answered(code, monkeypatch, "--json").error
    assert (error["code"], error["status"], bool(error["next"])) == (code.code, code.status, True)


def test_nobody_there_is_told_with_a_doctor_for_that_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WVS_RETRY_FOR", "0")
    url = f"http://{LOOPBACK}:{free_port()}"
    ran = Wvsctl()(f"workspace list --api-url {url}")
    assert ran.code == 1
    assert f"wvsctl: UNREACHABLE: {url} does not answer" in ran.err
    assert f"  try: wvsctl doctor --api-url {url}\n" in ran.err


def test_somebody_else_there_is_told_with_a_doctor() -> None:
    with port({"/v1/workspaces?limit=20": (404, "<html>not here</html>"), "/v1/workspaces": (404, "<html>")}) as url:
        ran = Wvsctl()(f"workspace list --api-url {url}")
    assert ran.code == 1
    assert "wvsctl: HTTP_404: " in ran.err
    assert "  try: wvsctl doctor\n" in ran.err


@pytest.mark.parametrize("text", ["api_url = 7 7", 'colour = "red"', 'timeout = "soon"', 'api_url = "nowhere"'])
def test_a_wrong_configuration_file_is_named_with_a_way_out_and_is_wrong_usage(tmp_path: Path, text: str) -> None:
    file = tmp_path / "wvsctl.toml"
    file.write_text(text)
    ran = Wvsctl()(f"workspace list --config {file}")
    assert ran.code == 2
    assert ran.err.startswith("wvsctl: USAGE: ")
    assert str(file) in ran.err
    assert "  try: wvsctl workspace list --help\n" in ran.err
    assert Wvsctl()(f"workspace list --config {file} --json").error["next"] == ["wvsctl workspace list --help"]

"""How a failure is told: its code, what blocks, and the next command; and which exit code it is."""

from __future__ import annotations

import json
from typing import Any

from rich.text import Text

from wvsctl import hints
from wvsctl.config import ConfigError
from wvsctl.errors import ApiError, InvalidId, Unreachable, WaitTimedOut, WvsctlError
from wvsctl.output import Output, printable
from wvsctl.session import REFUSED, TIMED_OUT, USAGE, Session, TaskFailed, UsageError


def tell(error: WvsctlError, output: Output, session: Session | None, name: str) -> int:
    """Say it on stderr; the exit code."""
    said: dict[str, Any] = {"code": "FAILED", "message": str(error), "next": []}
    code = REFUSED
    match error:
        case ApiError():
            wsid = session.wsid if session else None
            said |= {"code": error.code, "message": error.message, "status": error.status}
            said |= {"request_id": error.request_id, "details": error.details, "retry_after": error.retry_after}
            said["next"] = hints.after_refusal(error, wsid=wsid, command=name)
        case TaskFailed():
            said |= {"code": error.code, "reason": error.reason, "task_id": error.task.task_id}
            said["next"] = hints.after_task(error.task)
        case WaitTimedOut():
            said |= {"code": "WAIT_TIMED_OUT", "task_id": error.task_id}
            said["next"] = [f"wvsctl task watch {error.task_id}"]
            code = TIMED_OUT
        case Unreachable():
            said |= {"code": "UNREACHABLE", "next": [f"wvsctl doctor --api-url {error.url}"]}
        case UsageError() | ConfigError() | InvalidId():
            instead = error.instead if isinstance(error, UsageError) else ()
            said |= {"code": "USAGE", "next": [*instead, f"wvsctl {name} --help"]}
            code = USAGE
    if session and (isinstance(error, Unreachable) or said.get("status", 0) >= 500):
        _tell_how_to_go_on(said, session)
    _print(said, output)
    return code


def _tell_how_to_go_on(said: dict[str, Any], session: Session) -> None:
    """After an answer was lost: the task that was accepted, or the key of a write that perhaps was."""
    if session.task_id:
        said["next"].append(f"wvsctl task watch {session.task_id}")
    elif session.key:
        said["idempotency_key"] = session.key


def _print(said: dict[str, Any], output: Output) -> None:
    if output.is_json:
        output.err.file.write(json.dumps({"error": said}, ensure_ascii=False) + "\n")
        return
    reason = f"/{said['reason']}" if said.get("reason") else ""
    lines = [f"wvsctl: {said['code']}{reason}: {said['message']}"]
    lines += [f"  blocked by: {hints.named(blocker)}" for blocker in said.get("details", {}).get("blockers", [])]
    if said.get("request_id"):
        lines.append(f"  request id: {said['request_id']}")
    if said.get("retry_after") is not None:
        lines.append(f"  passes by itself: again in {said['retry_after']:g} s")
    if said.get("idempotency_key"):
        lines.append(f"  it may have been done; repeat it with: --idempotency-key {said['idempotency_key']}")
    lines += [f"  try: {hint}" for hint in said["next"]]
    for line in lines:
        output.err.print(Text(printable(line)), soft_wrap=True)

"""What to try next, for whoever was refused."""

from __future__ import annotations

from typing import Any, Final

from wvsctl.errors import ApiError
from wvsctl.models import FINISHED, Task

_BY_STATE: Final = {
    "DISABLED": "workspace get {wsid}",
    "INIT_FAILED": "workspace retry-init {wsid} --wait",
    "PROVISIONING": "task list --wsid {wsid} --op init_workspace",
}
BY_CODE: Final = {
    "WVS_BAD_REQUEST": "{command} --help",
    "WVS_UNAUTHORIZED": "doctor",
    "WVS_FORBIDDEN": "doctor",
    "WVS_NOT_FOUND": "{listing}",
    "WVS_CONFLICT_LOCKED": "{watching}",
    "WVS_CONFLICT_IDEMPOTENT_MISMATCH": "{command} --help",
    "WVS_CONFLICT_EXISTS": "{looking}",
    "WVS_CONFLICT_SNAPSHOT_IN_USE": "{watching}",
    "WVS_GONE": "{looking}",
    "WVS_PRECONDITION_FAILED": "{looking}",
    "WVS_INTERNAL": "doctor",
    "WVS_EXECUTOR_ERROR": "{watching}",
    "WVS_EXECUTOR_TIMEOUT": "{watching}",
}
"""What helps where nothing more is known than the code: a next step for each that there is."""


def after_refusal(error: ApiError, *, wsid: str | None, command: str) -> list[str]:
    """Commands, the most useful one first. `command`: the one that was refused, its name only."""
    found = [hint for blocker in error.blockers for hint in _for_blocker(blocker, wsid)]
    if not found or error.code == "WVS_CONFLICT_IDEMPOTENT_MISMATCH":
        found = [*_for_code(error, wsid, command), *found]
    return [f"wvsctl {hint}" for hint in dict.fromkeys(found)]


def _for_blocker(blocker: dict[str, Any], wsid: str | None) -> list[str]:
    """By what stands in the way."""
    task_id, status = blocker.get("task_id"), blocker.get("status")
    if task_id and status in FINISHED:
        return [f"task get {task_id}"]
    if task_id:
        return [f"task watch {task_id}", f"task cancel {task_id}"]
    if "current_snapshot_id" in blocker and wsid:
        return [f"snapshot list {wsid}", f"current set {wsid} ANOTHER_SNAPSHOT_ID"]
    if "state" in blocker:
        wsid = blocker.get("wsid") or wsid
        return [_BY_STATE.get(blocker["state"], "workspace get {wsid}").format(wsid=wsid)]
    return []


def _for_code(error: ApiError, wsid: str | None, command: str) -> list[str]:
    of_snapshots = command.startswith(("snapshot ", "current ")) and wsid and "no workspace" not in error.message
    everything = "task list" if command.startswith("task ") else "workspace list"
    hint = BY_CODE.get(error.code, "doctor").format(
        command=command,
        listing=f"snapshot list {wsid}" if of_snapshots else everything,
        looking=f"workspace get {wsid}" if wsid else everything,
        watching=f"task list --wsid {wsid}" if wsid else "task list",
    )
    return [hint]


def after_task(task: Task) -> list[str]:
    """When a task ended otherwise than hoped for, the commands that tell more or try again."""
    more = [f"wvsctl task get {task.task_id}", f"wvsctl audit list --task-id {task.task_id}"]
    if task.op == "init_workspace":
        return [f"wvsctl workspace retry-init {task.wsid} --wait", *more]
    return more


def named(blocker: dict[str, Any]) -> str:
    """A blocker in one line."""
    if "task_id" in blocker:
        return f"task {blocker['task_id']} ({blocker.get('op', '?')}, {blocker.get('status', '?')})"
    if "current_snapshot_id" in blocker:
        return f"current is {blocker['current_snapshot_id']} ({blocker.get('current_path')})"
    if "state" in blocker:
        return f"workspace {blocker.get('wsid', '')} is {blocker['state']}"
    return ", ".join(f"{name} {value}" for name, value in blocker.items())

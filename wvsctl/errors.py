"""How a call can fail."""

from __future__ import annotations

from typing import Any

from wvsctl.models import Task


class WvsctlError(Exception):
    """Any failure of a call."""


class Unreachable(WvsctlError):
    """Nobody answered, or not in HTTP, however often it was tried within the limit."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url} does not answer: {why}")
        self.url = url


class InvalidId(WvsctlError):
    """What was given as an id can be none; nothing was sent."""


class ApiError(WvsctlError):
    """The API refused, or failed. `retry_after`: seconds, where it will pass by itself.

    `was_repeated`: it is the answer to a further try, and one before it may have been done.
    """

    def __init__(
        self,
        *,
        code: str,
        message: str,
        status: int,
        request_id: str = "",
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
        was_repeated: bool = False,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.request_id = request_id
        self.details = details or {}
        self.retry_after = retry_after
        self.was_repeated = was_repeated

    @property
    def blockers(self) -> list[dict[str, Any]]:
        """What stands in the way: tasks, the pointer, a state, a lock."""
        return list(self.details.get("blockers", []))


class WaitTimedOut(WvsctlError):
    """The task was not finished in time; it goes on. `task` is how it was last seen."""

    def __init__(self, task_id: str, seconds: float, task: Task | None) -> None:
        status = task.status if task else "unknown"
        super().__init__(f"task {task_id} is {status} after {seconds:g} s; it goes on")
        self.task_id = task_id
        self.task = task

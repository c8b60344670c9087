"""What every command has: settings, output, a client. And the exit codes.

0 done; 1 refused or failed, also a task that was waited for and did not succeed; 2 wrong usage; 3 the wait timed out;
130 interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from wvsctl.client import Client, new_key
from wvsctl.config import Settings
from wvsctl.errors import WvsctlError
from wvsctl.models import Task
from wvsctl.output import Output

REFUSED: Final = 1
USAGE: Final = 2
TIMED_OUT: Final = 3
INTERRUPTED: Final = 130


class UsageError(WvsctlError):
    """What was asked cannot be done like this; the message says how it can, and `instead` are commands that do it."""

    def __init__(self, message: str, *instead: str) -> None:
        super().__init__(message)
        self.instead = instead


class TaskFailed(WvsctlError):
    """A task that was waited for did not succeed."""

    def __init__(self, task: Task) -> None:
        error = task.error or {}
        super().__init__(error.get("message") or f"task {task.task_id} is {task.status}")
        self.task = task
        self.code = str(error.get("code") or task.status)
        self.reason = error.get("reason")


@dataclass
class Session:
    """One run of one command. The client is opened when it is first asked for."""

    settings: Settings
    output: Output
    command: str
    wsid: str | None = None
    key: str | None = None
    """The idempotency key of the write that was sent."""
    task_id: str | None = None
    """The task that is waited for."""
    _client: Client | None = field(default=None, init=False)

    @property
    def client(self) -> Client:
        """The API."""
        if self._client is None:
            settings = self.settings
            self._client = Client(
                settings.api_url,
                request_timeout=settings.request_timeout,
                retry_for=settings.retry_for,
                on_retry=lambda why: self.output.say(f"{why}; it is tried again for {settings.retry_for:g} s"),
            )
        return self._client

    def key_for(self, given: str | None) -> str:
        """The idempotency key of this run's write, kept so that it can be told if the answer is lost."""
        self.key = given or new_key()
        return self.key

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()

"""How the demonstration speaks to its two partners: the API, and the agent's process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Final, Self

import httpx

ROOT: Final = Path(__file__).resolve().parent.parent.parent
FINISHED: Final = ("SUCCEEDED", "CANCELED", "DEAD")
TASK_SECONDS: Final = 120.0


class Failed(Exception):
    """A check did not hold."""


class Api:
    """The HTTP API v1, as any client sees it."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/v1", timeout=70, trust_env=False)

    def call(self, method: str, path: str, expect: int, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request; raises Failed when the status is another than expected."""
        headers = {"Idempotency-Key": str(uuid.uuid4())} if method in ("POST", "DELETE") else {}
        answer = self._http.request(method, path, json=body, headers=headers)
        if answer.status_code != expect:
            raise Failed(f"{method} {path}: expected {expect}, got {answer.status_code}: {answer.text}")
        return dict(answer.json())

    def finish(self, task_id: str) -> dict[str, Any]:
        """The task once it is finished, by `?wait=`. Raises Failed unless it succeeded."""
        end = time.monotonic() + TASK_SECONDS
        while time.monotonic() < end:
            task = self.call("GET", f"/tasks/{task_id}?wait=30", 200)
            if task["status"] == "SUCCEEDED":
                return task
            if task["status"] in FINISHED:
                break
        raise Failed(f"task {task_id} is {task['status']}: {task.get('error')}")

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()


class AgentProcess:
    """The agent, in a process of its own. Detached and ended on exit from the context."""

    def __init__(self, workspace: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.demo.agent", str(workspace)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        self._hear()  # it is attached
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None and not self._process.stdin.closed:  # type: ignore[union-attr]
            self._process.communicate(timeout=30)  # the end of its input ends it
        self._process.wait(timeout=30)

    def order(self, command: str) -> dict[str, Any]:
        """Let it do something, and hear what happened."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed("the agent's process has ended")
        return dict(json.loads(line))

"""A client of the running stack (`make up`), which every benchmark that measures from outside uses."""

from __future__ import annotations

import os
import sys
import time
import uuid
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".stack" / "env"
LIMIT = 600.0


def setting(name: str) -> str:
    """From the environment, else from the running stack's file. Exits naming what is missing."""
    if name in os.environ:
        return os.environ[name]
    lines = ENV_FILE.read_text().splitlines() if ENV_FILE.exists() else []
    for line in lines:
        key, _, value = line.removeprefix("export ").partition("=")
        if key == name:
            return value.strip("'\"")
    sys.exit(f"{name} is not set and {ENV_FILE} does not give it: start the stack with `make up`")


class Failed(Exception):
    """What was to be measured did not come about; the message says what happened instead."""


class Client:
    """A client of the API that keeps its connection. Not thread-safe."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=90)

    def post(self, path: str, body: dict[str, object] | None = None) -> dict[str, str]:
        """An asynchronous write with a fresh key."""
        return self._write("POST", path, body or {})

    def delete(self, path: str) -> dict[str, str]:
        """A drop with a fresh key."""
        return self._write("DELETE", path, None)

    def _write(self, method: str, path: str, body: dict[str, object] | None) -> dict[str, str]:
        answer = self.http.request(method, path, json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
        return dict(answer.raise_for_status().json())

    def ended(self, task_id: str, limit: float = LIMIT) -> dict[str, object]:
        """The task once it is finished, however it ended. Raises Failed after `limit` seconds."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            answer = self.http.get(f"/v1/tasks/{task_id}", params={"wait": 30})
            if answer.is_success and answer.json()["ended_at"] is not None:
                return dict(answer.json())
            time.sleep(float(answer.headers.get("Retry-After", 0)))
        raise Failed(f"{task_id} did not end within {limit:g} s")

    def succeeded(self, task_id: str, limit: float = LIMIT) -> dict[str, object]:
        """The finished task. Raises Failed if it did not succeed."""
        task = self.ended(task_id, limit)
        if task["status"] != "SUCCEEDED":
            raise Failed(f"{task_id} is {task['status']}: {task['error']}")
        return task

    def workspace(self) -> str:
        """A fresh one, ACTIVE."""
        wsid = f"bench-{uuid.uuid4().hex[:12]}"
        self.succeeded(self.post("/v1/workspaces", {"wsid": wsid, "owner": "benchmark"})["init_task_id"])
        return wsid

    def clean_up(self, wsid: str) -> None:
        """Drop the snapshots that can be dropped, and disable the workspace."""
        current = self.http.get(f"/v1/workspaces/{wsid}").raise_for_status().json()["current_snapshot_id"]
        path = f"/v1/workspaces/{wsid}/snapshots"
        while True:
            items = self.http.get(path, params={"limit": 100}).raise_for_status().json()["items"]
            names = [item["snapshot_id"] for item in items if item["snapshot_id"] != current]
            if not names:
                break
            for name in names:
                self.ended(self.delete(f"{path}/{name}")["task_id"])
        self.http.delete(f"/v1/workspaces/{wsid}").raise_for_status()

"""One HTTP request as a careful client makes it: with a key, and again with the same key when the answer was lost."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import httpx

_PATIENCE: Final = 15.0
_AGAIN_AFTER: Final = 0.2
_REQUEST_SECONDS: Final = 10.0
_REFUSALS: Final = frozenset({404, 409, 410, 412})
MISMATCH: Final = "WVS_CONFLICT_IDEMPOTENT_MISMATCH"
# A line for each request, of thousands.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass
class Ledger:
    """What all clients did and were told. Thread-safe."""

    accepted: dict[str, str] = field(default_factory=dict)
    """Every task id that a 202 named, and by which key."""
    answers: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    given_up: int = 0
    wrong: list[str] = field(default_factory=list)
    """What an answer said that it must never say."""
    slowest_post: float = 0.0
    slow_posts: int = 0
    posts: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, method: str, status: int, seconds: float) -> None:
        with self._lock:
            self.answers[f"{method} {status}"] += 1
            if method == "POST" and status == httpx.codes.ACCEPTED:
                self.posts += 1
                self.slowest_post = max(self.slowest_post, seconds)
                self.slow_posts += seconds > 0.5

    def accept(self, task_id: str, key: str) -> None:
        with self._lock:
            known = self.accepted.setdefault(task_id, key)
        if known != key:
            self.complain(f"{task_id} was answered for two keys: {known} and {key}")

    def complain(self, text: str) -> None:
        with self._lock:
            self.wrong.append(text)

    def count_repeat(self, *, given_up: bool = False) -> None:
        with self._lock:
            self.repeated += 1
            self.given_up += given_up


class Caller:
    """Makes requests of one thread. `stopping` ends its patience."""

    def __init__(self, url: str, ledger: Ledger, stopping: threading.Event) -> None:
        self.ledger = ledger
        self._stopping = stopping
        self._http = httpx.Client(base_url=url, timeout=_REQUEST_SECONDS, trust_env=False)

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def get(self, path: str) -> dict[str, Any] | None:
        """What is read there; None where it is refused or nobody answers. A read is not repeated."""
        answer = self._once("GET", path, None, None)
        if answer is None or answer.is_server_error:
            return None
        return self._read(answer, "GET", path, "") or None

    def write(self, method: str, path: str, body: dict[str, Any] | None, key: str | None = None) -> dict[str, Any]:
        """What was answered in the end; {} where it was refused or nobody answered. Never a second key."""
        key = key or uuid.uuid4().hex
        until = time.monotonic() + _PATIENCE
        while True:
            answer = self._once(method, path, body, key)
            if answer is not None and not answer.is_server_error:
                break
            over = time.monotonic() > until or self._stopping.wait(_AGAIN_AFTER)
            self.ledger.count_repeat(given_up=over)
            if over:
                return {}
        return self._read(answer, method, path, key)

    def replay(self, rng: Random, method: str, path: str, body: dict[str, Any] | None, key: str, task_id: str) -> None:
        """The same key again: with the same body it is the same task, with another one it is refused."""
        other = {**(body or {}), **({"message": "another"} if "snapshots" in path else {"owner": "another"})}
        differs = method == "POST" and ("snapshots" in path or path == "/workspaces") and rng.random() < 0.5
        answer = self._once(method, path, other if differs else body, key)
        if answer is None or answer.is_server_error:
            return
        code = answer.json().get("code", "")
        if differs:
            if answer.status_code != httpx.codes.CONFLICT or code != MISMATCH:
                self.ledger.complain(f"{method} {path}: key {key} with another body was answered {answer.text}")
        elif task_id not in answer.text:
            self.ledger.complain(f"{method} {path}: key {key} was answered {answer.text}, not with {task_id}")

    def _once(self, method: str, path: str, body: dict[str, Any] | None, key: str | None) -> httpx.Response | None:
        headers = {"Idempotency-Key": key} if key else {}
        begun = time.monotonic()
        try:
            answer = self._http.request(method, path, json=body, headers=headers)
        except httpx.HTTPError:
            self.ledger.answered(method, 0, 0.0)
            return None
        self.ledger.answered(method, answer.status_code, time.monotonic() - begun)
        return answer

    def _read(self, answer: httpx.Response, method: str, path: str, key: str) -> dict[str, Any]:
        if answer.is_success:
            said: dict[str, Any] = answer.json()
            task_id = said.get("task_id") or said.get("init_task_id")
            if answer.status_code == httpx.codes.ACCEPTED and task_id:
                self.ledger.accept(task_id, key)
            return said
        if answer.status_code not in _REFUSALS:
            self.ledger.complain(f"{method} {path}: {answer.status_code} {answer.text}")
        return {}

"""A real gunicorn on the test's database, for what only a server does."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from django.db import connection
from psycopg.conninfo import make_conninfo

from tests.servers import environment_of_servers
from tests.waiting import LIMIT, eventually
from wvs_project.stack.waiting import LOOPBACK, free_port

ROOT = Path(__file__).resolve().parent.parent.parent
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "wvs_project/gunicorn_conf.py"]


def dsn_of_the_test() -> str:
    """How another process reaches this test's database."""
    settings = connection.settings_dict
    keys = {"host": "HOST", "port": "PORT", "dbname": "NAME", "user": "USER", "password": "PASSWORD"}
    return make_conninfo("", **{key: str(settings[name]) for key, name in keys.items()})


def environment(**more: str) -> dict[str, str]:
    """Of a process that is served to nobody else."""
    ours = {**environment_of_servers(), "WVS_DB_DSN": dsn_of_the_test(), "WVS_LOG_FORMAT": "json", **more}
    return {"PATH": os.environ["PATH"], **ours}


class Served:
    """A running API."""

    def __init__(self, log: Path, **more: str) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        addresses = {
            "WVS_LISTEN_ADDR": f"{LOOPBACK}:{self.port}",
            "WVS_METRICS_ADDR": f"{LOOPBACK}:{self.metrics_port}",
        }
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                GUNICORN, cwd=ROOT, env=environment(**addresses, **more), stdout=output, stderr=output
            )

    def wait_up(self) -> None:
        eventually(lambda: self._answers() or self._is_gone(), "the API answers")
        assert not self._is_gone(), self.log.read_text()

    def _answers(self) -> bool:
        try:
            return self.health("/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    def _is_gone(self) -> bool:
        return self.process.poll() is not None

    def health(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{LOOPBACK}:{self.metrics_port}{path}", timeout=LIMIT, trust_env=False)

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        return httpx.request(method, f"http://{LOOPBACK}:{self.port}{path}", timeout=LIMIT, trust_env=False, **kwargs)

    def post(self, path: str, body: object = None, *, key: str = "key-1") -> httpx.Response:
        return self.request("POST", path, json=body or {}, headers={"Idempotency-Key": key})

    def raw(self, sent: bytes) -> tuple[int, Mapping[str, str], Any]:
        """Status, headers and JSON of what comes back for these very bytes."""
        with socket.create_connection((LOOPBACK, self.port), timeout=LIMIT) as client:
            client.sendall(sent)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            return answer.status, dict(answer.getheaders()), json.loads(answer.read())

    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT)


@contextmanager
def served(log: Path, **more: str) -> Iterator[Served]:
    """A running API that is gone afterwards."""
    api = Served(log, **more)
    try:
        api.wait_up()
        yield api
    finally:
        if api.process.poll() is None:
            api.process.kill()
            api.process.wait(LIMIT)

"""`python -m executor` in a process of its own, and sites whose executor is that process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from executor.client import RemoteExecutor
from executor.tls import Tls
from tests.executor.scene import LIMIT, ROOT, Site
from wvs_project.stack.waiting import LOOPBACK, free_port, wait_until

FORBIDDEN = ("WVS_DB_DSN", "WVS_REDIS_URL", "WVS_SECRET_KEY")


class Served:
    """One service. Its lines go to `log`."""

    def __init__(self, mount: Path, log: Path, **settings: str) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        self.addr = f"{LOOPBACK}:{self.port}"
        self.log = log
        self.settings = {
            "EXECUTOR_MOUNT_PATH": str(mount),
            "EXECUTOR_GRPC_ADDR": self.addr,
            "EXECUTOR_METRICS_ADDR": f"{LOOPBACK}:{self.metrics_port}",
            "WVS_LOG_FORMAT": "json",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in FORBIDDEN}
        return {**inherited, **self.settings}

    def spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "executor"], cwd=ROOT, env=self.environment(), stdout=log, stderr=log
            )
        return self.process

    def start(self) -> None:
        """Start it and wait until it serves."""
        process = self.spawn()
        wait_until(lambda: self.is_ready() or process.poll() is not None, limit=LIMIT, what="an executor is ready")
        assert process.poll() is None, self.log.read_text()

    def is_ready(self) -> bool:
        return self.get("/readyz") == 200

    def get(self, path: str) -> int:
        """The status with which the metrics port answers; 0: it does not."""
        try:
            return httpx.get(f"http://{LOOPBACK}:{self.metrics_port}{path}", timeout=5, trust_env=False).status_code
        except httpx.HTTPError:
            return 0

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(LIMIT)

    def ask_to_stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait_ended(self) -> int:
        assert self.process is not None
        return self.process.wait(LIMIT)

    def stop(self) -> None:
        """End it, in order if it lives, and have it gone in any case."""
        if self.process is None or self.process.poll() is not None:
            return
        self.ask_to_stop()
        try:
            self.process.wait(LIMIT)
        finally:
            self.kill()

    def lines(self, event: str) -> list[Mapping[str, Any]]:
        """What it logged of that event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if event in line["event"]]


@contextmanager
def served(mount: Path, log: Path, **settings: str) -> Iterator[Served]:
    """A service that is ready, and is over afterwards."""
    service = Served(mount, log, **settings)
    try:
        service.start()
        yield service
    finally:
        service.stop()


class RemoteSite(Site):
    """A workspace whose executor is a service, or many."""

    def __init__(self, mount: Path, driver: str, *addrs: str, tls: Tls | None = None) -> None:
        super().__init__(mount, driver)
        self.executor = RemoteExecutor(addrs, tls)  # type: ignore[assignment]

    def close(self) -> None:
        self.executor.close()

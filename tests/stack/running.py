"""The embedded stack as its user runs it: `python -m wvs_project.stack up` on a directory of the test's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil

from wvs_project.stack.config import SOURCES
from wvs_project.stack.envfile import read_env_file
from wvs_project.stack.juicefs import is_mounted
from wvs_project.stack.orphans import marked_processes, postgres_processes
from wvs_project.stack.postgres import data_directory
from wvs_project.stack.servers import Layout
from wvs_project.stack.waiting import wait_until

START_SECONDS = 90.0
STOP_SECONDS = 60.0
GIVEN = ("WVS_DB_DSN", "WVS_REDIS_URL", "EXECUTOR_MOUNT_PATH", "WVS_SECRET_KEY", "EXECUTOR_ADDRS")


@dataclass
class StackOnDisk:
    """A directory for a stack, and whatever runs on it."""

    state: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        inherited = {name: value for name, value in os.environ.items() if name not in GIVEN}
        output = (self.state.parent / f"output-{len(self.processes)}").open("wb")
        with output:
            process = subprocess.Popen(
                [sys.executable, "-m", "wvs_project.stack", *arguments],
                cwd=SOURCES,
                env={**inherited, "WVS_STACK_DIR": str(self.state), **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def up(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start it and return when it is ready."""
        process = self.command("up", **environment)
        wait_until(lambda: self.is_ready or process.poll() is not None, limit=START_SECONDS, what="stack up")
        assert self.is_ready, self.output
        return process

    def up_to(self, said: str) -> subprocess.Popen[bytes]:
        """Start it and return in the middle of the start, once it has said so."""
        process = self.command("up")
        wait_until(lambda: said in self.output or process.poll() is not None, limit=START_SECONDS, what=said)
        assert said in self.output, self.output
        return process

    def stop(self, process: subprocess.Popen[bytes], by: signal.Signals = signal.SIGTERM) -> int:
        process.send_signal(by)
        return process.wait(STOP_SECONDS)

    @property
    def is_ready(self) -> bool:
        return (self.state / "env").exists()

    @property
    def env(self) -> Mapping[str, str]:
        return read_env_file(self.state / "env")

    @property
    def output(self) -> str:
        return (self.state.parent / f"output-{len(self.processes) - 1}").read_text()

    @property
    def leftovers(self) -> list[psutil.Process]:
        return [*marked_processes(str(self.state)), *postgres_processes(data_directory(self.state))]

    def assert_nothing_runs(self) -> None:
        assert self.leftovers == []
        assert not any(map(is_mounted, Layout(self.state).mountpoints()))
        assert not self.is_ready

    def read_file(self, name: str) -> str:
        return (Path(self.env["EXECUTOR_MOUNT_PATH"]) / name).read_text()

    def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        url = self.env["WVS_API_URL"] + "/v1" + path
        return httpx.request(
            method, url, headers={"Idempotency-Key": str(uuid4())}, timeout=70, trust_env=False, **options
        )


@contextmanager
def stack_on_disk() -> Iterator[StackOnDisk]:
    """A fresh directory; afterwards nothing runs on it, whatever the test did, and it is gone."""
    base = Path(tempfile.mkdtemp(prefix="wvs-stack-test-")).resolve()
    base.chmod(0o711)
    stack = StackOnDisk(base / "state")
    try:
        yield stack
    finally:
        for process in stack.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        stack.command("down").wait(STOP_SECONDS)
        shutil.rmtree(base)

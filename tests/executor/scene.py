"""A workspace on a volume, the executor that works on it, and attempts in processes of their own."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from executor import contract, descriptor, fence
from executor.config import ExecutorConfig, read_config
from executor.contract import ExecuteTask, OperationName, Outcome, Progress, ProgressSink, StopSignal
from executor.layout import Layout, snapshot_tree
from executor.local import LocalExecutor
from executor.upkeep import Inventory, Purged, SweepRequest, Swept
from wvs_agent import protocol
from wvs_agent.protocol import Control, ControlState

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 60.0
OURS = {"current", "live", "snapshots", ".wvs"}
OURS_IN_WVS = {"control.json", "agent.lock", "agent", "lock", "fence", "fence.lock", "staging"}


def nobody_listens(progress: Progress) -> None:
    """A sink for tests that do not look at progress."""


def new_task_id() -> str:
    return f"task-{uuid.uuid4()}"


def new_snapshot_id() -> str:
    return f"snap-{uuid.uuid4()}"


class Site:
    """One workspace of its own on a volume. Fences rise with every request, as the engine's do."""

    def __init__(self, mount: Path, driver: str, **settings: object) -> None:
        self.driver = driver
        base = dataclasses.replace(read_config(), mount_path=mount, clone_driver=driver, quiesce_timeout=5.0)
        self.config: ExecutorConfig = dataclasses.replace(base, **settings)  # type: ignore[arg-type]
        self.executor = LocalExecutor(self.config)
        self.wsid = "w" + secrets.token_hex(6)
        self.ws = Layout(mount).workspace(self.wsid)
        self._fences = itertools.count(1)

    def request(self, op: OperationName, *, task_id: str | None = None, **fields: Any) -> ExecuteTask:
        """A request with a fresh fence, and a fresh task unless one is given."""
        return ExecuteTask(
            task_id=task_id or new_task_id(),
            wsid=self.wsid,
            op=op,
            fence=next(self._fences),
            timeout_seconds=300.0,
            **fields,
        )

    def again(self, request: ExecuteTask) -> ExecuteTask:
        """The next attempt of the same task."""
        return dataclasses.replace(request, fence=next(self._fences))

    def init_request(self) -> ExecuteTask:
        return self.request(OperationName.INIT_WORKSPACE)

    def create_request(self, snapshot_id: str | None = None) -> ExecuteTask:
        return self.request(
            OperationName.SNAPSHOT_CREATE,
            snapshot_id=snapshot_id or new_snapshot_id(),
            source_live_id=self.live_id,
            message="as it was",
        )

    def switch_request(self, snapshot_id: str) -> ExecuteTask:
        return self.request(OperationName.SET_CURRENT, snapshot_id=snapshot_id)

    def drop_request(self, snapshot_id: str) -> ExecuteTask:
        return self.request(OperationName.SNAPSHOT_DROP, snapshot_id=snapshot_id)

    def run(
        self, request: ExecuteTask, stop: StopSignal | None = None, progress: ProgressSink = nobody_listens
    ) -> Outcome:
        with _given(stop) as own:
            return self.executor.execute(request, stop=own, progress=progress)

    def probe(self, request: ExecuteTask) -> Outcome | None:
        with _given(None) as own:
            return self.executor.probe(request, stop=own)

    def sweep_request(self, **asked: Any) -> SweepRequest:
        """A sweep with a fresh fence."""
        return SweepRequest(wsid=self.wsid, fence=next(self._fences), **asked)

    def sweep(self, stop: StopSignal | None = None, **asked: Any) -> Swept:
        with _given(stop) as own:
            return self.executor.sweep(self.sweep_request(**asked), stop=own)

    def purge(self, stop: StopSignal | None = None) -> Purged:
        """Up to the highest fence that was seen: a sweep's, where one was just done."""
        with _given(stop) as own:
            return self.executor.purge(self.wsid, fence=self.seen_fence, stop=own)

    def last_written(self, live_id: str, stop: StopSignal | None = None) -> datetime:
        with _given(stop) as own:
            return self.executor.last_written(self.wsid, live_id, stop=own)

    def inventory(self, *, descriptors: bool = True) -> Inventory:
        found = self.executor.inventory(self.wsid, descriptors=descriptors)
        assert found is not None
        return found

    def init(self) -> Path:
        """An initialised workspace; its first tree."""
        self.run(self.init_request())
        return self.tree

    def snapshot(self) -> str:
        """A snapshot of what is current: its id."""
        request = self.create_request()
        self.run(request)
        assert request.snapshot_id is not None
        return request.snapshot_id

    def switch_to(self, snapshot_id: str) -> Path:
        """A new tree from the snapshot, made current."""
        self.run(self.switch_request(snapshot_id))
        return self.tree

    def ask_freeze(self, state: ControlState = ControlState.REQUEST_FREEZE) -> Control:
        """control.json as an executor left it that died in a freeze, or right after."""
        control = Control(
            state=state,
            nonce=protocol.new_nonce(),
            renewal=3,
            lease_seconds=10.0,
            task_id="task-of-a-dead-executor",
            fence=1,
            current="live/initial",
            updated_at=protocol.now_text(),
        )
        protocol.replace_file(self.ws.control, control.encode())
        return control

    @property
    def seen_fence(self) -> int:
        """The highest fencing token that the workspace has seen."""
        return fence.read_fence(self.ws)

    @property
    def live_id(self) -> str:
        """What `current` points at."""
        return str(self.ws.current.readlink()).removeprefix("live/")

    @property
    def tree(self) -> Path:
        """The tree that `current` points at."""
        return self.ws.live(self.live_id)

    def snapshot_tree(self, snapshot_id: str) -> Path:
        return snapshot_tree(self.ws.snapshot(snapshot_id))

    @property
    def snapshots(self) -> list[str]:
        return sorted(path.name for path in self.ws.snapshots_dir.iterdir())

    @property
    def lives(self) -> list[str]:
        return sorted(path.name for path in self.ws.live_dir.iterdir())

    @property
    def staged(self) -> list[str]:
        """What lies in staging: nothing, once an attempt is over."""
        return sorted(path.name for path in self.ws.staging_dir.iterdir())

    def assert_whole(self) -> None:
        """Nothing half-made lies outside staging: what is there is known, and what is published is complete."""
        assert {path.name for path in self.ws.root.iterdir()} <= OURS
        assert {path.name for path in self.ws.wvs.iterdir()} <= OURS_IN_WVS
        if self.ws.snapshots_dir.exists():
            for name in self.snapshots:
                assert descriptor.read(self.ws.snapshot(name), wsid=self.wsid, snapshot_id=name) is not None
        if self.ws.current.is_symlink():
            assert self.tree.is_dir()
        if self.ws.live_dir.exists():
            assert all(contract.matches(contract.LIVE_ID_PATTERN, name) for name in self.lives)

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        return {
            **os.environ,
            "EXECUTOR_MOUNT_PATH": str(self.config.mount_path),
            "EXECUTOR_CLONE_DRIVER": self.driver,
            **extra,
        }

    def start(self, request: ExecuteTask, failpoints: str = "", **extra: str) -> subprocess.Popen[bytes]:
        """The attempt in a process of its own, with failpoints armed; it says `done` and its outcome at the end."""
        return self._process("attempt_process", failpoints, json.dumps(dataclasses.asdict(request)), extra=extra)

    def kill_at(self, request: ExecuteTask, point: str) -> None:
        """Run the attempt in a process that is killed when it comes to the point."""
        with self.start(request, f"{point}=kill") as process:
            assert process.wait(LIMIT) == -signal.SIGKILL, f"it never came to {point}"

    def start_sweep(self, request: SweepRequest, failpoints: str) -> subprocess.Popen[bytes]:
        """The sweep in a process of its own, with failpoints armed."""
        return self._process("upkeep_process", failpoints, "sweep", json.dumps(dataclasses.asdict(request)))

    def start_purge(self, fence: int, failpoints: str) -> subprocess.Popen[bytes]:
        """The purge in a process of its own, with failpoints armed."""
        return self._process("upkeep_process", failpoints, "purge", json.dumps({"wsid": self.wsid, "fence": fence}))

    def _process(self, module: str, *arguments: str, extra: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", f"tests.executor.{module}", *arguments],
            cwd=ROOT,
            env=self.environment(extra or {}),
            stdout=subprocess.PIPE,
        )


@contextmanager
def _given(stop: StopSignal | None) -> Iterator[StopSignal]:
    """The signal, or one that nobody uses."""
    own = stop or StopSignal()
    try:
        yield own
    finally:
        if stop is None:
            own.close()

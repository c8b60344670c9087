"""How long the agent stands still for a snapshot and for a switch, beside the bare `juicefs clone -p` of the same tree.

One run: a JuiceFS volume of its own, an agent attached through the same mount (or another one), trees of the given
sizes. While a snapshot is being copied one entry in a hundred is changed. Ratios within one run are what counts; the
output is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.trees import bare_clone, plant, remove
from executor import failpoints
from executor.config import read_config
from executor.contract import ExecuteTask, OperationName, Outcome, Progress, StopSignal
from executor.layout import Layout, WorkspaceLayout
from executor.local import LocalExecutor
from observation.logs import configure_logging
from wvs_agent import QuiesceWatcher
from wvs_project.stack.juicefs import Mount, Volume, mounted
from wvs_project.stack.postgres import Database, PostgresServer

_DEFAULT_CACHES = dict.fromkeys(("attr-cache", "entry-cache", "dir-entry-cache"), "1.0")


class Bench:
    """A workspace with its agent, which works through the mount `agents`."""

    def __init__(self, mount: Path, agents: Path, entries: int, *, precopy: bool) -> None:
        config = dataclasses.replace(read_config(), mount_path=mount, clone_driver="juicefs", precopy=precopy)
        self.executor = LocalExecutor(config)
        self.ws: WorkspaceLayout = Layout(mount).workspace(f"b{uuid.uuid4().hex[:10]}")
        self.agent_root = agents / self.ws.wsid
        self._fences = itertools.count(1)
        self.still: list[float] = []
        self._began = 0.0
        self.run(OperationName.INIT_WORKSPACE)
        self.files = plant(self.agent_root / "live" / "initial", entries)

    def run(self, op: OperationName, **fields: str) -> Outcome:
        """One task."""
        request = ExecuteTask(
            f"task-{uuid.uuid4()}", self.ws.wsid, op, fence=next(self._fences), timeout_seconds=600.0, **fields
        )
        stop = StopSignal()
        try:
            return self.executor.execute(request, stop=stop, progress=_nobody)
        finally:
            stop.close()

    def attached(self) -> QuiesceWatcher:
        """The agent: it notes how long it stood still, from when it heard the request."""
        return QuiesceWatcher(self.agent_root, self._freeze, self._resume)

    def _freeze(self) -> None:
        self._began = time.monotonic()

    def _resume(self, target: str) -> None:
        self.still.append(time.monotonic() - self._began)

    def snapshot(self) -> tuple[str, Outcome]:
        """One of what is current."""
        name = f"snap-{uuid.uuid4()}"
        live = str(self.ws.current.readlink()).removeprefix("live/")
        return name, self.run(OperationName.SNAPSHOT_CREATE, snapshot_id=name, source_live_id=live)


def _nobody(progress: Progress) -> None:
    """Progress is not looked at."""


class Changes:
    """An agent at work: every hundredth file is written anew, spread over the time of the copying."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files[:: max(len(files) // max(len(files) // 100, 1), 1)]
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """At the first look."""
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Before the agent stands still: all of them are done."""
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        for path in self._files:
            path.write_bytes(os.urandom(16))


def asked(outcome: Outcome) -> float:
    """Seconds from the request to the executor's word to go on."""
    assert outcome.agent is not None
    return outcome.agent.wait_seconds + outcome.agent.freeze_seconds


def measure(mount: Path, agents: Path, entries: int, *, runs: int, precopy: bool, late: bool) -> dict[str, object]:
    """All numbers of one size."""
    bench = Bench(mount, agents, entries, precopy=precopy)
    changes = Changes(bench.files)
    failpoints.arm("create.precopied" if late else "create.looked", changes.begin)
    bare, shares, requests = [], [], []
    result: dict[str, object] = {"entries": entries, "precopy": precopy, "changes": "late" if late else "meanwhile"}
    with bench.attached():
        time.sleep(0.5)
        timings: dict[str, list[float]] = {}
        for _ in range(runs):
            bare.append(bare_clone(bench.ws.live("initial"), mount))
            failpoints.arm("create.frozen", changes.end)
            name, outcome = bench.snapshot()
            shares.append(bench.still[-1])
            requests.append(asked(outcome))
            for key, seconds in outcome.timings.items():
                timings.setdefault(key, []).append(seconds)
        failpoints.disarm_all()
        snapshots = _p50(shares)
        result |= {"bare_clone": _p50(bare), "create_standstill": snapshots, "ratio": round(snapshots / _p50(bare), 3)}
        result["create_asked_to_told"] = _p50(requests)
        result["ratios"] = [round(still / clone, 3) for still, clone in zip(shares, bare, strict=True)]
        result["timings"] = {key: [round(value, 3) for value in values] for key, values in timings.items()}
        bench.still.clear()
        requests = [asked(bench.run(OperationName.SET_CURRENT, snapshot_id=name)) for _ in range(runs)]
        result |= {"set_current_standstill": _p50(bench.still), "set_current_asked_to_told": _p50(requests)}
    remove(bench.ws.root)
    return result


def _p50(values: list[float]) -> float:
    return round(statistics.median(values), 4)


def run_on_volume(base: Path, work: Callable[[Path, Path], None], *, two_mounts: bool = False) -> None:
    """With a PostgreSQL and a JuiceFS volume of its own: the executor's mount and the agent's, which may be the same.

    Another mount has JuiceFS's own cache times, of a second, as an agent's host has it.
    """
    with ExitStack() as stack:
        base.chmod(0o755)
        server = PostgresServer(base, log=base / "postgres.log", password=uuid.uuid4().hex, durable=False)
        stack.callback(server.destroy)
        stack.callback(server.stop)
        server.start()
        database = Database("juicefs_meta", uuid.uuid4().hex)
        server.ensure(database)
        url = f"postgres://juicefs_meta@127.0.0.1:{server.port}/juicefs_meta?sslmode=disable"
        volume = Volume(url, database.password, base / "objects", base / "juicefs.log", mark=str(base))
        volume.format()
        mount = stack.enter_context(mounted(Mount(volume, base / "ws", base / "cache")))
        if two_mounts:
            other = Mount(volume, base / "agents", base / "agents-cache", caches=_DEFAULT_CACHES)
            work(mount.path, stack.enter_context(mounted(other)).path)
        else:
            work(mount.path, mount.path)


def main() -> None:
    """Measure, and print JSON."""
    configure_logging("warning", "auto")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=[10, 10_000, 100_000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-precopy", action="store_true", help="clone in the freeze, to compare")
    parser.add_argument("--late", action="store_true", help="the changes come right before the freeze, all at once")
    parser.add_argument("--two-mounts", action="store_true", help="the agent works through a mount of its own")
    options = parser.parse_args()

    def work(mount: Path, agents: Path) -> None:
        for entries in options.entries:
            precopy = not options.no_precopy
            found = measure(mount, agents, entries, runs=options.runs, precopy=precopy, late=options.late)
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()

    with TemporaryDirectory(prefix="wvs-bench-") as base:
        run_on_volume(Path(base).resolve(), work, two_mounts=options.two_mounts)


if __name__ == "__main__":
    main()

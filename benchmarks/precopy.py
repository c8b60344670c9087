"""How long the agent stands still for a snapshot and for a switch, beside the bare `juicefs clone -p` of the same tree.

The executor alone, an agent attached through the same mount (or another one), trees of the given sizes. While a
snapshot is being copied a share of the files is changed. By itself it has a volume of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.report import print_rows
from benchmarks.rows import Row, Spread, at_most, rounded
from benchmarks.site import Site
from benchmarks.trees import bare_clone, plant, remove
from benchmarks.volumes import own_volume
from executor import failpoints
from executor.config import read_config
from executor.contract import ExecuteTask, OperationName, Outcome, Progress, StopSignal
from executor.layout import Layout, WorkspaceLayout
from executor.local import LocalExecutor
from observation.logs import configure_logging
from wvs_agent import QuiesceWatcher
from wvs_project.stack.juicefs import Mount, mounted

RATIOS: Final = {10_000: 0.6, 100_000: 0.5}
"""Of the standstill to the bare clone, at most, with one entry in a hundred changed; by the number of entries."""
CHANGED: Final = 0.01
SWITCH_SECONDS: Final = 0.1
_DEFAULT_CACHES = dict.fromkeys(("attr-cache", "entry-cache", "dir-entry-cache"), "1.0")


@dataclass(frozen=True)
class Plan:
    """One size, and what happens."""

    entries: int
    runs: int
    shares: tuple[float, ...] = (0.0, 0.01, 0.10)
    """Of the files that are changed meanwhile."""
    precopy: bool = True
    late: bool = False
    """The changes come right before the freeze, all at once."""

    @property
    def remark(self) -> str:
        """How it differs from what is usual."""
        return f"{' late' * self.late}{', no pre-copy' * (not self.precopy)}"

    def is_asked(self, share: float) -> bool:
        """Whether a ratio is asked of it."""
        return share == CHANGED and self.entries in RATIOS and self.precopy and not self.late


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

    def run(self, op: OperationName, **fields: Any) -> Outcome:
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
    """An agent at work: a share of the files is written anew, spread over the time of the copying."""

    def __init__(self, files: list[Path], share: float) -> None:
        count = max(round(len(files) * share), 1) if share else 0
        self._files = files[:: max(len(files) // count, 1)][:count] if count else []
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


def measure(mount: Path, agents: Path, plan: Plan) -> Iterator[Row]:
    """The rows of one size: a snapshot for each share, then the switch. Each snapshot after a bare clone."""
    bench = Bench(mount, agents, plan.entries, precopy=plan.precopy)
    name = ""
    bare: list[float] = []
    with bench.attached():
        for share in plan.shares:
            name, clones, row = _snapshots(bench, plan, share)
            bare += clones
            yield row
        bench.still.clear()
        told = [asked(bench.run(OperationName.SET_CURRENT, snapshot_id=name)) for _ in range(plan.runs)]
        yield Row(
            f"set_current, {plan.entries:,} entries",
            "s",
            Spread.of(bench.still),
            "bare clone",
            Spread.of(bare),
            must=at_most(p50=SWITCH_SECONDS) if mount == agents else (),
            notes={"asked to told": Spread.of(told).p50},
        )
    remove(bench.ws.root)


def _snapshots(bench: Bench, plan: Plan, share: float) -> tuple[str, list[float], Row]:
    changes = Changes(bench.files, share)
    bench.still.clear()
    name, bare, told = "", [], []
    timings: dict[str, list[float]] = {}
    for _ in range(plan.runs):
        bare.append(bare_clone(bench.ws.live("initial"), bench.ws.root.parent))
        failpoints.arm("create.precopied" if plan.late else "create.looked", changes.begin)
        failpoints.arm("create.frozen", changes.end)
        name, outcome = bench.snapshot()
        told.append(asked(outcome))
        for key, seconds in outcome.timings.items():
            timings.setdefault(key, []).append(seconds)
    failpoints.disarm_all()
    inside = {key: rounded(statistics.median(values)) for key, values in timings.items()}
    row = Row(
        f"snapshot, {plan.entries:,} entries, {share:.0%} changed{plan.remark}",
        "s",
        Spread.of(bench.still),
        "bare clone",
        Spread.of(bare),
        must=at_most(ratio=RATIOS[plan.entries]) if plan.is_asked(share) else (),
        notes={"asked to told": Spread.of(told).p50, "inside": inside},
    )
    return name, bare, row


def rows(site: Site) -> Iterator[Row]:
    """On the site's volume, without its worker: the executor runs in this process. Agent and executor on one mount."""
    for entries, runs in site.size({10: 15, 10_000: 7, 100_000: 3}, {10: 1}).items():
        yield from measure(site.mount, site.mount, Plan(entries, runs))


def run_on_volume(base: Path, work: Callable[[Path, Path], None], *, two_mounts: bool = False) -> None:
    """With a PostgreSQL and a JuiceFS volume of its own: the executor's mount and the agent's, which may be the same.

    Another mount has JuiceFS's own cache times, of a second, as an agent's host has it.
    """
    with own_volume(base, durable=False) as mount:
        if not two_mounts:
            work(mount.path, mount.path)
            return
        with mounted(Mount(mount.volume, base / "agents", base / "agents-cache", caches=_DEFAULT_CACHES)) as other:
            work(mount.path, other.path)


def main() -> int:
    """Measure on a volume of its own, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=[10, 10_000, 100_000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-precopy", action="store_true", help="clone in the freeze, to compare")
    parser.add_argument("--late", action="store_true", help="the changes come right before the freeze, all at once")
    parser.add_argument("--two-mounts", action="store_true", help="the agent works through a mount of its own")
    options = parser.parse_args()
    codes: list[int] = []

    def work(mount: Path, agents: Path) -> None:
        for entries in options.entries:
            plan = Plan(entries, options.runs, (0.01,), precopy=not options.no_precopy, late=options.late)
            codes.append(print_rows(measure(mount, agents, plan)))

    configure_logging("warning", "auto")
    with TemporaryDirectory(prefix="wvs-bench-") as base:
        run_on_volume(Path(base).resolve(), work, two_mounts=options.two_mounts)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())

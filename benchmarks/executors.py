"""What the loss of one executor costs the workspaces of another, and how soon its own go on (SPEC §7).

A stack of its own: two executors, each on a mount of its own, and a client for each workspace that makes one snapshot
after the other. Windows without a disturbance take turns with windows in which one executor is killed and started
again; in the last one it stays away and is taken from the list. What counts is the p99 of the other executor's
workspaces, and its ratio: exit code 1 if one is above 1.2. The output is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.stack import Client
from benchmarks.trees import plant
from executor.routing import executor_of
from wvs_project.stack.config import read_stack_config
from wvs_project.stack.programs import Program
from wvs_project.stack.servers import Service
from wvs_project.stack.stack import Stack, running_stack
from wvs_project.stack.stopping import stop_signals
from wvs_project.stack.waiting import LOOPBACK, free_port, wait_until

ALLOWED: Final = 1.2
LIMIT: Final = 180.0
STAYS, DIES = 1, 2
"""The executors' numbers."""
KILLED, WITH_ITS_MOUNT, HANGS = HOW = ("killed", "killed with its mount", "hangs")


@dataclass(frozen=True, slots=True)
class Sample:
    """One snapshot, from its POST to its being known to have succeeded; by the monotonic clock."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """What the client waited."""
        return self.ended - self.began


class Caller(threading.Thread):
    """The client of one workspace, until it is told that it is over."""

    def __init__(self, url: str, wsid: str, pause: float, over: threading.Event) -> None:
        super().__init__(name=wsid, daemon=True)
        self.samples: list[Sample] = []
        self._api = Client(url)
        self._wsid = wsid
        self._pause = pause
        self._over = over

    def run(self) -> None:
        """One snapshot after the other, with pauses, so that the machine is not all that is measured."""
        chance = random.Random(self._wsid)
        while not self._over.wait(self._pause * (0.5 + chance.random())):
            began = time.monotonic()
            accepted = self._api.post(f"/v1/workspaces/{self._wsid}/snapshots")
            self._api.succeeded(accepted["task_id"], LIMIT)
            self.samples.append(Sample(began, time.monotonic()))


@dataclass
class Load:
    """Who calls, by the number of the executor."""

    callers: dict[int, list[Caller]]
    over: threading.Event = field(default_factory=threading.Event)

    def of(self, executor: int, begin: float, end: float, ended: float = math.inf) -> list[float]:
        """What its clients waited for what they asked for between the two moments, and had by the third."""
        taken = (sample for caller in self.callers[executor] for sample in caller.samples)
        return [sample.seconds for sample in taken if begin <= sample.began < end and sample.ended <= ended]

    def all_ended_since(self, executor: int, moment: float) -> bool:
        """Whether each of its workspaces has had a success since then. Exits when a client has given up."""
        for caller in self.callers[executor]:
            if not caller.is_alive():
                sys.exit(f"the client of {caller.name} has given up")
            if not any(sample.ended >= moment for sample in reversed(caller.samples)):
                return False
        return True

    def first_after(self, executor: int, moment: float) -> list[float]:
        """Seconds from then to the first success of each of its workspaces."""
        return [
            min(sample.ended for sample in caller.samples if sample.ended >= moment) - moment
            for caller in self.callers[executor]
        ]


class Bench:
    """A stack under load."""

    def __init__(self, stack: Stack, options: argparse.Namespace) -> None:
        self._stack = stack
        self._options = options
        worker = stack.service("worker")
        assert isinstance(worker, Program)
        self._worker = worker
        self.addrs = worker.environment["EXECUTOR_ADDRS"].split(",")
        self.load = self._begin_load()

    def _begin_load(self) -> Load:
        url, api = self._stack.environment["WVS_API_URL"], Client(self._stack.environment["WVS_API_URL"])
        load = Load({STAYS: [], DIES: []})
        while min(map(len, load.callers.values())) < self._options.workspaces // 2:
            wsid = f"bench-{uuid.uuid4().hex[:12]}"
            callers = load.callers[self.addrs.index(executor_of(wsid, self.addrs)) + 1]
            if len(callers) < self._options.workspaces // 2:
                api.succeeded(api.post("/v1/workspaces", {"wsid": wsid, "owner": "benchmark"})["init_task_id"])
                plant(Path(self._stack.environment["EXECUTOR_MOUNT_PATH"]) / wsid / "current/work", 30)
                callers.append(Caller(url, wsid, self._options.pause, load.over))
        for caller in (*load.callers[STAYS], *load.callers[DIES]):
            caller.start()
        return load

    def undisturbed(self) -> tuple[float, float]:
        """A window: when it began and ended."""
        begin = time.monotonic()
        time.sleep(self._options.window)
        return begin, time.monotonic()

    def disturbed(self, restore: Callable[[], None]) -> tuple[float, float, float]:
        """A window that begins with the loss of one executor: when it began, when that was mended, when it ended.

        It ends when all of the lost one's workspaces have had a success again, and no sooner than the others do.
        """
        begin = time.monotonic()
        self._harm()
        time.sleep(self._options.dead)
        restore()
        mended = time.monotonic()
        wait_until(lambda: self.load.all_ended_since(DIES, mended), limit=LIMIT, what="its workspaces go on")
        time.sleep(max(begin + self._options.window - time.monotonic(), 0))
        return begin, mended, time.monotonic()

    def _harm(self) -> None:
        self._signal(signal.SIGSTOP if self._options.how == HANGS else signal.SIGKILL)

    def _victims(self) -> list[Service]:
        names = [f"juicefs-{DIES}"] * (self._options.how == WITH_ITS_MOUNT) + [f"executor-{DIES}"]
        return [self._stack.service(name) for name in names]

    def _signal(self, number: int) -> None:
        for victim in self._victims():
            assert victim.pid is not None
            os.killpg(victim.pid, number)

    def bring_back(self) -> None:
        """What died is started again, as its supervisor would; what hangs goes on."""
        if self._options.how == HANGS:
            self._signal(signal.SIGCONT)
            return
        for victim in self._victims():
            victim.stop()
            victim.start()

    def take_from_the_list(self) -> Program:
        """As one rolls out a new list: a worker that has it comes, then the one without goes."""
        if self._options.how == HANGS:
            # It holds the lock of what it was working on, and nobody else may until it has ended.
            self._signal(signal.SIGKILL)
        metrics = f"{LOOPBACK}:{free_port()}"
        settings = {"EXECUTOR_ADDRS": self.addrs[STAYS - 1], "WVS_METRICS_ADDR": metrics}
        log = self._stack.layout.log("worker-2")
        environment = {**self._worker.environment, **settings}
        new = dataclasses.replace(self._worker, name="worker-2", environment=environment, metrics_addr=metrics, log=log)
        new.start()
        self._worker.stop()
        return new


def of(samples: list[float]) -> dict[str, object]:
    """Seconds."""
    if len(samples) < 2:
        return {"n": len(samples)}
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return {"n": len(samples), "p50": round(cuts[49], 3), "p99": round(cuts[98], 3), "max": round(max(samples), 3)}


def ratio(disturbed: list[float], undisturbed: list[float]) -> float:
    """Of the two p99."""
    p99 = [statistics.quantiles(samples, n=100, method="inclusive")[98] for samples in (disturbed, undisturbed)]
    return round(p99[0] / p99[1], 3)


def measure(stack: Stack, options: argparse.Namespace) -> dict[str, object]:
    """All numbers."""
    bench = Bench(stack, options)
    load = bench.load
    calm: list[tuple[float, float]] = []
    stormy: list[tuple[float, float, float]] = []
    time.sleep(options.pause * 2)  # each has begun
    for _ in range(options.rounds):
        calm.append(bench.undisturbed())
        stormy.append(bench.disturbed(bench.bring_back))
    calm.append(bench.undisturbed())
    workers: list[Program] = []
    try:
        begin, mended, end = bench.disturbed(lambda: workers.append(bench.take_from_the_list()))
    finally:
        load.over.set()
        bench.bring_back()
        for worker in workers:
            worker.stop()
    quiet = [seconds for window in calm for seconds in load.of(STAYS, *window)]
    away = [seconds for begun, _, ended in stormy for seconds in load.of(STAYS, begun, ended)]
    removed = load.of(STAYS, begin, end)
    return {
        "how": options.how,
        "workspaces": options.workspaces,
        "others": {
            "undisturbed": of(quiet),
            "one away and back": {**of(away), "ratio": ratio(away, quiet)},
            "one away and taken from the list": {**of(removed), "ratio": ratio(removed, quiet)},
        },
        "its own": {
            "undisturbed": of([s for begun, ended in calm for s in load.of(DIES, begun, ended, ended)]),
            "success after it is back": of([s for _, back, _ in stormy for s in load.first_after(DIES, back)]),
            "success after the list": of(load.first_after(DIES, mended)),
        },
    }


@contextmanager
def own_stack() -> Iterator[Stack]:
    """Two executors on a directory that is gone afterwards. Nobody starts again what dies."""
    base = Path(tempfile.mkdtemp(prefix="wvs-bench-")).resolve()
    base.chmod(0o711)
    config = dataclasses.replace(read_stack_config(), state=base / "state", executors=2)
    try:
        with stop_signals() as signals, running_stack(config, lambda said: print(said, file=sys.stderr), signals) as up:
            yield up
    finally:
        shutil.rmtree(base)


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspaces", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--window", type=float, default=40.0, help="seconds")
    parser.add_argument("--dead", type=float, default=10.0, help="seconds until it is back, or the list is another")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between a workspace's snapshots")
    parser.add_argument("--how", choices=HOW, default=KILLED)
    options = parser.parse_args()
    with own_stack() as stack:
        found = measure(stack, options)
    print(json.dumps(found, indent=2))
    others = found["others"]
    assert isinstance(others, dict)
    sys.exit(any(numbers.get("ratio", 0) > ALLOWED for numbers in others.values()))


if __name__ == "__main__":
    main()

"""What the loss of one executor costs the workspaces of another, and how soon its own go on (SPEC §7).

A stack of its own: two executors, each on a mount of its own, and a client for each workspace that makes one snapshot
after the other. Windows without a disturbance take turns with windows in which one executor is killed and started
again; in the last one it stays away and is taken from the list. What counts is the p99 of the other executor's
workspaces, and its ratio: exit code 1 if one is above 1.2. The output is one JSON line a row.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.callers import LIMIT, Caller, require_alive, waited
from benchmarks.report import print_rows
from benchmarks.rows import Row, Spread, at_most
from benchmarks.site import Site, own_stack
from benchmarks.stack import Client
from benchmarks.trees import plant
from executor.routing import executor_of
from wvs_project.stack.programs import Program
from wvs_project.stack.servers import Service
from wvs_project.stack.stack import Stack
from wvs_project.stack.waiting import LOOPBACK, free_port, wait_until

ALLOWED: Final = 1.2
STAYS, DIES = 1, 2
"""The executors' numbers."""
KILLED, WITH_ITS_MOUNT, HANGS = HOW = ("killed", "killed with its mount", "hangs")


@dataclass(frozen=True)
class Plan:
    """How much, and what happens to the executor. Durations are seconds."""

    workspaces: int = 20
    rounds: int = 2
    window: float = 40.0
    dead: float = 10.0
    """Until it is back, or the list is another."""
    pause: float = 3.0
    how: str = KILLED


@dataclass
class Load:
    """Who calls, by the number of the executor."""

    callers: dict[int, list[Caller]]
    over: threading.Event = field(default_factory=threading.Event)

    def of(self, executor: int, begin: float, end: float, ended: float = math.inf) -> list[float]:
        """What its clients waited for what they asked for between the two moments, and had by the third."""
        return waited(self.callers[executor], begin, end, ended)

    def all_ended_since(self, executor: int, moment: float) -> bool:
        """Whether each of its workspaces has had a success since then. Raises Failed when a client has given up."""
        require_alive(self.callers[executor])
        for caller in self.callers[executor]:
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

    def __init__(self, stack: Stack, plan: Plan) -> None:
        self._stack = stack
        self._plan = plan
        worker = stack.service("worker")
        assert isinstance(worker, Program)
        self._worker = worker
        self.addrs = worker.environment["EXECUTOR_ADDRS"].split(",")
        self.load = self._begin_load()

    def _begin_load(self) -> Load:
        url, api = self._stack.environment["WVS_API_URL"], Client(self._stack.environment["WVS_API_URL"])
        load = Load({STAYS: [], DIES: []})
        while min(map(len, load.callers.values())) < self._plan.workspaces // 2:
            wsid = f"bench-{uuid.uuid4().hex[:12]}"
            callers = load.callers[self.addrs.index(executor_of(wsid, self.addrs)) + 1]
            if len(callers) < self._plan.workspaces // 2:
                api.succeeded(api.post("/v1/workspaces", {"wsid": wsid, "owner": "benchmark"})["init_task_id"])
                plant(Path(self._stack.environment["EXECUTOR_MOUNT_PATH"]) / wsid / "current/work", 30)
                callers.append(Caller(url, wsid, self._plan.pause, load.over))
        for caller in (*load.callers[STAYS], *load.callers[DIES]):
            caller.start()
        return load

    def undisturbed(self) -> tuple[float, float]:
        """A window: when it began and ended."""
        begin = time.monotonic()
        time.sleep(self._plan.window)
        return begin, time.monotonic()

    def disturbed(self, restore: Callable[[], None]) -> tuple[float, float, float]:
        """A window that begins with the loss of one executor: when it began, when that was mended, when it ended.

        It ends when all of the lost one's workspaces have had a success again, and no sooner than the others do.
        """
        begin = time.monotonic()
        self._harm()
        time.sleep(self._plan.dead)
        restore()
        mended = time.monotonic()
        wait_until(lambda: self.load.all_ended_since(DIES, mended), limit=LIMIT, what="its workspaces go on")
        time.sleep(max(begin + self._plan.window - time.monotonic(), 0))
        return begin, mended, time.monotonic()

    def _harm(self) -> None:
        self._signal(signal.SIGSTOP if self._plan.how == HANGS else signal.SIGKILL)

    def _victims(self) -> list[Service]:
        names = [f"juicefs-{DIES}"] * (self._plan.how == WITH_ITS_MOUNT) + [f"executor-{DIES}"]
        return [self._stack.service(name) for name in names]

    def _signal(self, number: int) -> None:
        for victim in self._victims():
            assert victim.pid is not None
            os.killpg(victim.pid, number)

    def bring_back(self) -> None:
        """What died is started again, as its supervisor would; what hangs goes on."""
        if self._plan.how == HANGS:
            self._signal(signal.SIGCONT)
            return
        for victim in self._victims():
            victim.stop()
            victim.start()

    def take_from_the_list(self) -> Program:
        """As one rolls out a new list: a worker that has it comes, then the one without goes."""
        if self._plan.how == HANGS:
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


def rows(site: Site) -> Iterator[Row]:
    """One executor killed and back, and taken from the list; the site has two."""
    return measure(site.stack, site.size(Plan(), Plan(workspaces=2, rounds=1, window=0.5, dead=0.2, pause=0.05)))


def measure(stack: Stack, plan: Plan) -> Iterator[Row]:
    """All rows. The stack's worker has ended when they are made."""
    bench = Bench(stack, plan)
    load = bench.load
    calm: list[tuple[float, float]] = []
    stormy: list[tuple[float, float, float]] = []
    time.sleep(plan.pause * 2)  # each has begun
    for _ in range(plan.rounds):
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
    own = [seconds for begun, ended in calm for seconds in load.of(DIES, begun, ended, ended)]
    back = [seconds for _, restored, _ in stormy for seconds in load.first_after(DIES, restored)]
    yield _others(f"others' snapshots, an executor {plan.how} and back", away, quiet)
    yield _others(f"others' snapshots, an executor {plan.how} and off the list", load.of(STAYS, begin, end), quiet)
    # A client of theirs may have waited since before the loss: that is compared with nothing.
    calmly = {"while undisturbed, p50": Spread.of(own).p50}
    yield Row("its own: the first success after it is back", "s", Spread.of(back), notes=calmly)
    listed = load.first_after(DIES, mended)
    yield Row("its own: the first success after the new list", "s", Spread.of(listed), notes=calmly)


def _others(what: str, disturbed: Sequence[float], quiet: Sequence[float]) -> Row:
    allowed = at_most(ratio=ALLOWED)
    return Row(what, "s", Spread.of(disturbed), "undisturbed", Spread.of(quiet), compared="p99", must=allowed)


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspaces", type=int, default=Plan.workspaces)
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--window", type=float, default=Plan.window, help="seconds")
    parser.add_argument("--dead", type=float, default=Plan.dead, help="seconds until it is back, or off the list")
    parser.add_argument("--pause", type=float, default=Plan.pause, help="seconds between a workspace's snapshots")
    parser.add_argument("--how", choices=HOW, default=KILLED)
    plan = Plan(**vars(parser.parse_args()))
    with own_stack(executors=2) as stack:
        return print_rows(measure(stack, plan))


if __name__ == "__main__":
    sys.exit(main())

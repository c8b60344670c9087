"""The benchmarks by name. Each gives its rows one by one, so that what was measured before a failure is not lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks import (
    api_latency,
    clone_limits,
    drop,
    end_to_end,
    executors,
    hung_agent,
    idle,
    many_workspaces,
    precopy,
    recovery,
    scale,
    throughput,
    waiters,
    wakeup,
)
from benchmarks.rows import Row
from benchmarks.site import Site


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One of them. `rows` gets a site of its own; in `--small` runs all share one, so it cleans up what others see."""

    name: str
    about: str
    rows: Callable[[Site], Iterator[Row]]
    needs_juicefs: bool = False
    """Whether it means nothing where the workspaces lie in a plain directory."""
    executors: int = 0
    """How many services of their own its site has; with any it shares no site."""


def scale_rows(site: Site) -> Iterator[Row]:
    """On servers of its own: two databases of unlike size beside each other."""
    with scale.place() as servers:
        yield from scale.measure(servers, *site.size((scale.SIZES, scale.ROUNDS), (_SMALL_SCALE, 1)))


_SMALL_SCALE: Final = (1_000, 2_000)
_ALL: Final = (
    Benchmark("wakeup", "POST committed → RUNNING, idle and at half load", wakeup.rows),
    Benchmark("end_to_end", "POST → SUCCEEDED, beside the bare clone", end_to_end.rows, needs_juicefs=True),
    Benchmark("standstill", "how long the agent stands still", precopy.rows, needs_juicefs=True),
    Benchmark("api", "POST, GET and list, beside a bare DRF view", api_latency.rows),
    Benchmark("scale", "a million tasks beside a thousand", scale_rows),
    Benchmark("waiters", "POST while clients wait for tasks", waiters.rows),
    Benchmark("throughput", "no-op tasks a second, beside procrastinate and Dramatiq", throughput.rows),
    Benchmark(
        "many", "snapshots over many workspaces, beside the bare clones", many_workspaces.rows, needs_juicefs=True
    ),
    Benchmark("recovery", "a killed worker's task is rescued; a canceled clone is dead", recovery.rows),
    Benchmark("hung", "what one agent that hangs costs the others", hung_agent.rows),
    Benchmark("executors", "what a dead executor costs the others", executors.rows, needs_juicefs=True, executors=2),
    Benchmark("idle", "what a stack costs that has nothing to do", idle.rows),
    Benchmark("drop", "beside a bare rmr, and the API meanwhile", drop.rows, needs_juicefs=True),
    Benchmark(
        "clone_limits", "threads and settings of the metadata's PostgreSQL", clone_limits.rows, needs_juicefs=True
    ),
)

BENCHMARKS: Final[Mapping[str, Benchmark]] = {benchmark.name: benchmark for benchmark in _ALL}

"""`python -m benchmarks [NAME…]`: measure all, or those named, and leave one JSON and one Markdown table.

Each has an embedded stack of its own. Exit code 1 if one failed, or missed what it must show: after all of them ran.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.catalog import BENCHMARKS, Benchmark
from benchmarks.machine import describe
from benchmarks.report import TABLE_NAME, Measured, Report
from benchmarks.site import Site, own_site
from benchmarks.stack import ROOT
from observation.logs import configure_logging
from wvs_project.stack.stopping import StopAsked


class Run:
    """One run of several benchmarks."""

    def __init__(self, out: Path, *, small: bool) -> None:
        self.report = Report(small=small)
        self._out = out
        self._small = small
        self._shared: Site | None = None

    def all(self, chosen: Sequence[Benchmark]) -> bool:
        """Whether all is well. Small ones share a stack: its start would take longer than they do."""
        with ExitStack() as stack:
            if self._small:
                self._shared = stack.enter_context(own_site(small=True))
            for benchmark in chosen:
                self._one(benchmark)
        return self.report.is_good

    def _one(self, benchmark: Benchmark) -> None:
        measured = Measured(benchmark.name)
        self.report.measured.append(measured)
        began = time.monotonic()
        _say(f"— {benchmark.name}: {benchmark.about}")
        try:
            with self._site(benchmark) as site:
                self._measure(benchmark, site, measured)
        except Exception as error:
            traceback.print_exc()
            measured.error = " ".join(f"{type(error).__name__}: {error}".split())[-400:]
        finally:
            measured.seconds = time.monotonic() - began
            self.report.write(self._out)

    def _measure(self, benchmark: Benchmark, site: Site, measured: Measured) -> None:
        if not self.report.machine:
            self.report.machine = describe(site)
        if benchmark.needs_juicefs and not site.has_juicefs:
            measured.skipped = "needs JuiceFS, and so FUSE"
            return
        for row in benchmark.rows(site):
            measured.rows.append(row)
            _say(f"  {row.what}: p50 {row.spread.p50:g} {row.unit}, p99 {row.spread.p99:g}, ratio {row.ratio}")
            if row.missed():
                _say(f"  MISSED: {row.missed()}")

    @contextmanager
    def _site(self, benchmark: Benchmark) -> Iterator[Site]:
        if self._shared is not None and not benchmark.executors:
            yield self._shared
            return
        with own_site(small=self._small, executors=benchmark.executors) as site:
            yield site


def _say(said: str) -> None:
    print(said, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all, if none is given")
    parser.add_argument("--list", action="store_true", help="the names, and what they measure")
    parser.add_argument("--small", action="store_true", help="only whether they work: the numbers mean nothing")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench", help="the directory for both files")
    options = parser.parse_args(arguments)
    if options.list:
        for benchmark in BENCHMARKS.values():
            print(f"{benchmark.name:<14} {benchmark.about}")
        return 0
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}: see --list")
    configure_logging("warning", "auto")  # of the executor that runs in this process
    chosen = [BENCHMARKS[name] for name in options.names or BENCHMARKS]
    try:
        is_good = Run(options.out, small=options.small).all(chosen)
    except StopAsked:
        return 130  # what was measured by then is written
    print((options.out / TABLE_NAME).read_text())
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Every benchmark works: small, all on one embedded stack, in a process of its own as `make bench` has it.

No number is judged: only that the rows are there, from samples, with what they are compared with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.catalog import BENCHMARKS
from wvs_project.stack.config import SOURCES
from wvs_project.stack.juicefs import why_no_fuse

ROWS = {
    "wakeup": ["POST committed → RUNNING, idle", "POST committed → RUNNING, at half load"],
    "end_to_end": [
        "snapshot, 10 entries",
        "set_current, 10 entries",
        "snapshot, 10 entries, proof and pre-copy off",
        "set_current, 10 entries, proof and pre-copy off",
    ],
    "standstill": [
        "snapshot, 10 entries, 0% changed",
        "snapshot, 10 entries, 1% changed",
        "snapshot, 10 entries, 10% changed",
        "set_current, 10 entries",
    ],
    "api": [f"{what}, 2 clients" for what in ("POST snapshot", "GET task", "list tasks")],
    "waiters": ["POST snapshot while 2 clients wait"],
    "throughput": ["no-op tasks, 2 workspaces"] * 3,
    "many": ["6 snapshots of 10 entries over 3 workspaces"],
    "hung": ["snapshots of 2 workspaces while the agent of one more hangs"],
    "recovery": ["worker killed → its task is rescued", "cancel → the clone of 1,000 entries is dead"],
    "idle": ["idle: SQL statements", "idle: Valkey commands, one worker", "idle: CPU of all processes"],
    "drop": ["drop of 40 entries, POST → SUCCEEDED", "GET task while 40 entries are dropped"],
    "clone_limits": [
        *[f"clone of 30 entries, {threads} threads" for threads in (1, 8)],
        "clone of 30 entries, an instance of its own",
    ],
}
ALONE = {"executors", "scale"}
"""They have servers of their own, whose start and filling take longer than all others together."""
COMPARED_WITH_NOTHING = {"wakeup", "recovery", "idle"}
GIVEN = ("WVS_DB_DSN", "WVS_REDIS_URL", "EXECUTOR_MOUNT_PATH", "WVS_SECRET_KEY", "EXECUTOR_ADDRS")
ANYWHERE = [name for name, one in BENCHMARKS.items() if name not in ALONE and not one.needs_juicefs]
ON_JUICEFS = [name for name, one in BENCHMARKS.items() if name not in ALONE and one.needs_juicefs]
# One test, not one for each: their stack takes longer to start than they take, and xdist would start it twice.
TOGETHER = [pytest.param([*ANYWHERE, *ON_JUICEFS], id="all")]
APART = [pytest.param(ANYWHERE, id="anywhere"), pytest.param(ON_JUICEFS, id="on-juicefs", marks=pytest.mark.fuse)]
"""Where there is no FUSE: the workspaces lie in a plain directory, and what needs JuiceFS is deselected aloud."""


def measured(out: Path, names: Sequence[str]) -> Mapping[str, Any]:
    """By the name of the benchmark."""
    environment = {name: value for name, value in os.environ.items() if name not in GIVEN}
    command = [sys.executable, "-m", "benchmarks", "--small", "--out", str(out), *names]
    run = subprocess.run(command, cwd=SOURCES, env=environment, capture_output=True, text=True, check=False)
    assert (out / "bench.json").exists(), run.stderr
    report = json.loads((out / "bench.json").read_text())
    found = {one["name"]: one for one in report["benchmarks"]}
    assert {name: one["error"] + one["skipped"] for name, one in found.items()} == dict.fromkeys(names, ""), run.stderr
    assert run.returncode == (0 if report["met"] else 1), run.stderr
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("names", APART if why_no_fuse() else TOGETHER)
def test_every_benchmark_gives_its_rows(tmp_path: Path, names: Sequence[str]) -> None:
    found = measured(tmp_path, names)
    whats = {name: [row["what"] for row in one["rows"]] for name, one in found.items()}
    if not why_no_fuse():
        assert whats == ROWS
    for name, one in found.items():
        assert one["rows"]
        for row in one["rows"]:
            assert row["spread"]["n"] > 0
            assert row["unit"]
            assert (row["than"] is None) == (name in COMPARED_WITH_NOTHING), row["what"]

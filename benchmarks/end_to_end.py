"""How long a client waits, POST → SUCCEEDED, beside the bare `juicefs clone -p` of the same tree in the same run.

Against a running stack (`make up`). An agent that answers at once is attached through the executor's mount; how long it
stands still, from its hearing the request to its being told to go on, is measured by itself. One JSON line a size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.stack import Client, setting
from benchmarks.trees import bare_clone, plant, remove
from wvs_agent import QuiesceWatcher


class Standing:
    """An agent that notes how long it stood still."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def freeze(self) -> None:
        """Nothing of it writes anyway."""
        self._began = time.monotonic()

    def resume(self, target: str) -> None:
        """Go on."""
        self.seconds.append(time.monotonic() - self._began)


def measure(api: Client, mount: Path, entries: int, runs: int) -> dict[str, object]:
    """All numbers of one size, in seconds (p50)."""
    wsid = api.workspace()
    root = mount / wsid
    plant(root / "live" / "initial", entries)
    aside = mount / f"{wsid}-bare"
    aside.mkdir()
    bare: list[float] = []
    taken: dict[str, list[float]] = {"snapshot": [], "set_current": []}
    stood: dict[str, list[float]] = {"snapshot": [], "set_current": []}
    inside: dict[str, dict[str, list[float]]] = {"snapshot": {}, "set_current": {}}
    agent = Standing()

    def time_of(kind: str, post: Callable[[], dict[str, str]]) -> dict[str, str]:
        began = time.monotonic()
        accepted = post()
        task = api.succeeded(accepted["task_id"])
        taken[kind].append(time.monotonic() - began)
        stood[kind] += agent.seconds[-1:]
        result = task["result"]
        assert isinstance(result, dict)
        for name, seconds in result.get("timings", {}).items():
            inside[kind].setdefault(name, []).append(seconds)
        return accepted

    try:
        with QuiesceWatcher(root, agent.freeze, agent.resume):
            for _ in range(runs):
                bare.append(bare_clone((root / "current").resolve(), aside))
                made = time_of("snapshot", lambda: api.post(f"/v1/workspaces/{wsid}/snapshots"))
                body: dict[str, object] = {"snapshot_id": made["snapshot_id"]}
                time_of("set_current", lambda body=body: api.post(f"/v1/workspaces/{wsid}/current:set", body))  # type: ignore[misc]
    finally:
        remove(aside)
    api.clean_up(wsid)
    p50 = statistics.median
    found: dict[str, object] = {"entries": entries, "runs": runs, "bare_clone": round(p50(bare), 4)}
    for kind in taken:
        found[kind] = {
            "post_to_succeeded": round(p50(taken[kind]), 4),
            "ratio": round(p50(taken[kind]) / p50(bare), 2),
            "more_ms": round((p50(taken[kind]) - p50(bare)) * 1000, 1),
            "standstill": round(p50(stood[kind]), 4),
            "inside": {name: round(p50(seconds), 4) for name, seconds in inside[kind].items()},
        }
    return found


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=[10, 1_000, 10_000])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    api, mount = Client(setting("WVS_API_URL")), Path(setting("EXECUTOR_MOUNT_PATH"))
    for entries in options.entries:
        print(json.dumps(measure(api, mount, entries, options.runs)), flush=True)


if __name__ == "__main__":
    main()

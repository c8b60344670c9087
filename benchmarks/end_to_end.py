"""How long a client waits, POST → SUCCEEDED, beside the bare `juicefs clone -p` of the same tree in the same run.

An agent that answers at once is attached through the executor's mount. In turn: the bare clone, a snapshot, a switch;
then the same with the proof of quiet and the pre-copy off. By itself it measures a running stack (`make up`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.report import print_rows
from benchmarks.rows import Must, Row, Spread, at_most, rounded
from benchmarks.site import Site
from benchmarks.stack import Client, setting
from benchmarks.trees import bare_clone, plant, remove
from wvs_agent import QuiesceWatcher

RUNS: Final = {10: 15, 1_000: 9, 10_000: 7, 100_000: 3}
"""By the number of entries."""
_LARGE: Final = 10_000
_ALLOWED, _ALLOWED_BARELY = 1.9, 1.2
_MORE: Final = {10: 0.150}
"""Seconds above the bare clone."""
_OFF: Final = {"EXECUTOR_PRECOPY": "off", "EXECUTOR_VERIFY_QUIET": "off"}


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


@dataclass
class Kind:
    """One kind of write: what the client waited, how long the agent stood still, what the executor spent time on."""

    taken: list[float] = field(default_factory=list)
    stood: list[float] = field(default_factory=list)
    inside: dict[str, list[float]] = field(default_factory=dict)

    def notes(self) -> dict[str, object]:
        """Seconds, p50."""
        inside = {name: rounded(statistics.median(seconds)) for name, seconds in self.inside.items()}
        return {"standstill": Spread.of(self.stood).p50, "inside": inside}


class Workspace:
    """One with a tree of that many entries."""

    def __init__(self, api: Client, mount: Path, entries: int) -> None:
        self._api = api
        self.entries = entries
        self.wsid = api.workspace()
        self._root = mount / self.wsid
        self._aside = mount / f"{self.wsid}-bare"
        plant(self._root / "live" / "initial", entries)
        self._aside.mkdir()

    def rows(self, runs: int, *, barely: bool = False) -> Iterator[Row]:
        """A snapshot and a switch; `barely`: without proof and pre-copy."""
        bare, kinds = self.measure(runs)
        for name, kind in kinds.items():
            yield Row(
                f"{name}, {self.entries:,} entries{', proof and pre-copy off' if barely else ''}",
                "s",
                Spread.of(kind.taken),
                "bare clone",
                Spread.of(bare),
                must=_musts(self.entries, barely=barely),
                notes=kind.notes(),
            )

    def measure(self, runs: int) -> tuple[list[float], dict[str, Kind]]:
        """Seconds of the bare clones, and of each kind of write."""
        bare: list[float] = []
        kinds = {"snapshot": Kind(), "set_current": Kind()}
        agent = Standing()
        path = f"/v1/workspaces/{self.wsid}"
        with QuiesceWatcher(self._root, agent.freeze, agent.resume):
            for _ in range(runs):
                bare.append(bare_clone((self._root / "current").resolve(), self._aside))
                made = self._time(kinds["snapshot"], agent, f"{path}/snapshots", {})
                self._time(kinds["set_current"], agent, f"{path}/current:set", {"snapshot_id": made["snapshot_id"]})
        return bare, kinds

    def _time(self, kind: Kind, agent: Standing, path: str, body: dict[str, object]) -> dict[str, str]:
        began = time.monotonic()
        accepted = self._api.post(path, body)
        task = self._api.succeeded(accepted["task_id"])
        kind.taken.append(time.monotonic() - began)
        kind.stood += agent.seconds[-1:]
        result = task["result"]
        assert isinstance(result, dict)
        for name, seconds in result.get("timings", {}).items():
            kind.inside.setdefault(name, []).append(seconds)
        return accepted

    def clean_up(self) -> None:
        """The snapshots but the current one go; the trees switched away from wait for the sweep."""
        remove(self._aside)
        self._api.clean_up(self.wsid)


def _musts(entries: int, *, barely: bool) -> tuple[Must, ...]:
    if entries >= _LARGE:
        return at_most(ratio=_ALLOWED_BARELY if barely else _ALLOWED)
    return at_most(more=_MORE[entries]) if entries in _MORE and not barely else ()


def rows(site: Site) -> Iterator[Row]:
    """Every size with both on; the large ones with both off too."""
    runs = site.size(RUNS, {10: 2})
    made = [Workspace(site.client(), site.mount, entries) for entries in runs]
    for workspace in made:
        yield from workspace.rows(runs[workspace.entries])
    with site.instead("worker", **_OFF):
        for workspace in made[-2:]:
            yield from workspace.rows(runs[workspace.entries], barely=True)
    for workspace in made:
        workspace.clean_up()


def main() -> int:
    """Measure a running stack, as it is set, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=[10, 1_000, 10_000])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    api, mount = Client(setting("WVS_API_URL")), Path(setting("EXECUTOR_MOUNT_PATH"))
    code = 0
    for entries in options.entries:
        workspace = Workspace(api, mount, entries)
        code |= print_rows(workspace.rows(options.runs))
        workspace.clean_up()
    return code


if __name__ == "__main__":
    sys.exit(main())

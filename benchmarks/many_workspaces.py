"""Many snapshots of small trees over many workspaces, as fast as they go, beside the bare clones four at a time.

All are asked for at once: from the first POST to the last SUCCEEDED. The bare clones are of the same trees.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.rows import Row, Spread, at_least
from benchmarks.site import Site
from benchmarks.stack import Client
from benchmarks.trees import clone_to, plant, remove

_AT_A_TIME: Final = 4
_LEAST: Final = 0.8


def rows(site: Site) -> Iterator[Row]:
    """One row."""
    count, each, entries = site.size((100, 10, 100), (3, 2, 10))
    api = site.client()
    wsids = [api.workspace() for _ in range(count)]
    for wsid in wsids:
        plant(site.mount / wsid / "live" / "initial", entries)
    rounds = site.size(3, 1)
    ours, bare = [], []
    for _ in range(rounds):
        bare.append(_bare(site.mount, wsids, each))
        ours.append(_snapshots(api, wsids, each))
    for wsid in wsids:
        api.http.delete(f"/v1/workspaces/{wsid}").raise_for_status()
    yield Row(
        f"{count * each:,} snapshots of {entries} entries over {count} workspaces",
        "snapshots/s",
        Spread.of(ours),
        f"bare clones, {_AT_A_TIME} at a time",
        Spread.of(bare),
        must=at_least(ratio=_LEAST),
    )


def _snapshots(api: Client, wsids: Sequence[str], each: int) -> float:
    """A second."""
    began = time.monotonic()
    tasks = [api.post(f"/v1/workspaces/{wsid}/snapshots")["task_id"] for _ in range(each) for wsid in wsids]
    for task in reversed(tasks):  # the last ones first: the others are over then, and cost one answer each
        api.succeeded(task)
    return len(tasks) / (time.monotonic() - began)


def _bare(mount: Path, wsids: Sequence[str], each: int) -> float:
    """A second."""
    aside = mount / f"{wsids[0]}-bare"
    aside.mkdir()
    pairs = [
        (mount / wsid / "live" / "initial", aside / f"{wsid}-{number}") for number in range(each) for wsid in wsids
    ]
    began = time.monotonic()
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(lambda pair: clone_to(*pair), pairs))
    took = time.monotonic() - began
    remove(aside)
    return len(pairs) / took

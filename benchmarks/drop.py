"""How long a drop takes, POST → SUCCEEDED, beside a bare `juicefs rmr` of the same tree, and the API meanwhile.

In turn: nothing, a drop, a bare rmr. A client asks for a task again and again during the first two.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Final

from benchmarks.load import Connection
from benchmarks.rows import Row, Spread, at_most
from benchmarks.site import Site
from benchmarks.stack import Client
from benchmarks.trees import clone_to, plant, remove

_ALLOWED: Final = 1.2
_PAUSE: Final = 0.01


class Asking(threading.Thread):
    """A client that asks for one task, with short pauses, and notes how long each answer took."""

    def __init__(self, url: str, task_id: str) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self._connection = Connection(url)
        self._path = f"/v1/tasks/{task_id}"
        self._over = threading.Event()

    def run(self) -> None:
        """Until it is told that it is over."""
        self._connection.ask("GET", self._path)
        while True:
            began = time.perf_counter()
            self._connection.ask("GET", self._path)
            self.seconds.append(time.perf_counter() - began)
            if self._over.wait(_PAUSE):
                break
        self._connection.close()

    def end(self) -> list[float]:
        """What it noted."""
        self._over.set()
        self.join()
        return self.seconds


class Trees:
    """A workspace with a tree, whose copies are dropped and removed."""

    def __init__(self, site: Site, entries: int) -> None:
        self.api: Client = site.client()
        self._url = site.environment["WVS_API_URL"]
        self.wsid = self.api.workspace()
        self._live = site.mount / self.wsid / "live" / "initial"
        self._aside = site.mount / f"{self.wsid}-bare"
        self._aside.mkdir()
        plant(self._live, entries)
        self._task_id = ""

    def made(self) -> str:
        """A snapshot."""
        write = self.api.post(f"/v1/workspaces/{self.wsid}/snapshots")
        self.api.succeeded(write["task_id"])
        self._task_id = write["task_id"]
        return write["snapshot_id"]

    def drop(self, snapshot_id: str) -> float:
        """Seconds of a drop, POST → SUCCEEDED."""
        began = time.perf_counter()
        self.api.succeeded(self.api.delete(f"/v1/workspaces/{self.wsid}/snapshots/{snapshot_id}")["task_id"])
        return time.perf_counter() - began

    def bare(self) -> float:
        """Seconds of `juicefs rmr` of a bare clone."""
        copy = self._aside / uuid.uuid4().hex
        clone_to(self._live, copy)
        began = time.perf_counter()
        remove(copy)
        return time.perf_counter() - began

    def asking(self) -> Asking:
        """A client that has begun."""
        client = Asking(self._url, self._task_id)
        client.start()
        return client

    def clean_up(self) -> None:
        """Nothing stays but the workspace's own tree, until it is purged."""
        self._aside.rmdir()
        self.api.clean_up(self.wsid)


def rows(site: Site) -> Iterator[Row]:
    """The drop beside the rmr, and the API meanwhile."""
    entries, runs = site.size(10_000, 40), site.size(7, 1)
    trees = Trees(site, entries)
    dropped, bare, meanwhile, before = [], [], [], []
    for _ in range(runs):
        name = trees.made()
        idle = trees.asking()
        time.sleep(site.size(1.5, 0.02))
        before += idle.end()
        busy = trees.asking()
        dropped.append(trees.drop(name))
        meanwhile += busy.end()
        bare.append(trees.bare())
    trees.clean_up()
    yield Row(
        f"drop of {entries:,} entries, POST → SUCCEEDED",
        "s",
        Spread.of(dropped),
        "bare juicefs rmr",
        Spread.of(bare),
        must=at_most(ratio=_ALLOWED),
    )
    yield Row(
        f"GET task while {entries:,} entries are dropped",
        "ms",
        Spread.of(meanwhile, 1e3),
        "the same while nothing runs",
        Spread.of(before, 1e3),
        must=at_most(ratio=_ALLOWED),
    )

"""Whether clients that wait for a task slow down a POST (SPEC §4): its latency with and without 60 of them, in turn.

They wait for a snapshot whose agent holds the agent lock and never answers. By itself it measures a running stack.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.recovery import silent_agent
from benchmarks.report import print_rows
from benchmarks.rows import Row, Spread
from benchmarks.site import Site
from benchmarks.stack import Client, setting


def rows(site: Site) -> Iterator[Row]:
    """One row."""
    clients, count, rounds = site.size((60, 50, 4), (2, 2, 1))
    yield measure(site.environment["WVS_API_URL"], site.mount, clients, count, rounds)


def keep_waiting(url: str, task_id: str, until: threading.Event, asked: threading.Barrier) -> None:
    """Ask with ?wait=30 again and again."""
    client = Client(url)
    client.http.get(f"/v1/tasks/{task_id}")  # connected
    asked.wait()
    while not until.is_set():
        answer = client.http.get(f"/v1/tasks/{task_id}", params={"wait": 30})
        until.wait(float(answer.headers.get("Retry-After", 0)))


def posts(client: Client, wsid: str, count: int) -> list[float]:
    """Seconds of each POST …/snapshots. It is canceled at once: what is measured is the API, not the clones."""
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        task = client.post(f"/v1/workspaces/{wsid}/snapshots")
        taken.append(time.perf_counter() - begin)
        client.http.post(f"/v1/tasks/{task['task_id']}:cancel")
    return taken


def measure(url: str, mount: Path, clients: int, count: int, rounds: int) -> Row:
    """Both cases in turn, `rounds` times."""
    client = Client(url)
    hanging, busy = client.workspace(), client.workspace()
    alone: list[float] = []
    beside: list[float] = []
    with silent_agent(mount / hanging):
        for _ in range(rounds):
            alone += posts(client, busy, count)
            beside += _beside_waiters(client, url, hanging, busy, clients, count)
    client.http.delete(f"/v1/workspaces/{busy}")
    what = f"POST snapshot while {clients} clients wait"
    return Row(what, "ms", Spread.of(beside, 1e3), "while nobody waits", Spread.of(alone, 1e3))


def _beside_waiters(client: Client, url: str, hanging: str, busy: str, clients: int, count: int) -> list[float]:
    task_id = client.post(f"/v1/workspaces/{hanging}/snapshots")["task_id"]
    over, asked = threading.Event(), threading.Barrier(clients + 1)
    waiters = [threading.Thread(target=keep_waiting, args=(url, task_id, over, asked)) for _ in range(clients)]
    for waiter in waiters:
        waiter.start()
    asked.wait()
    taken = posts(client, busy, count)
    over.set()
    client.http.post(f"/v1/tasks/{task_id}:cancel")
    for waiter in waiters:
        waiter.join()
    return taken


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=60)
    parser.add_argument("--posts", type=int, default=50, help="in each round and case")
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    mount = Path(setting("EXECUTOR_MOUNT_PATH"))
    return print_rows([measure(setting("WVS_API_URL"), mount, given.clients, given.posts, given.rounds)])


if __name__ == "__main__":
    sys.exit(main())

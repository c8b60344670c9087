"""Whether clients that wait for a task slow down a POST (SPEC §4): its latency with and without 60 of them.

Against a running stack (`make up`); reads WVS_API_URL and EXECUTOR_MOUNT_PATH from `.stack/env` or the environment.
The waiters wait for a snapshot that hangs: its agent holds the agent lock and never answers. The two measurements
alternate within one run.
"""

from __future__ import annotations

import argparse
import fcntl
import statistics
import threading
import time
from pathlib import Path

from benchmarks.stack import Client, setting


def keep_waiting(url: str, task_id: str, until: threading.Event) -> None:
    """Ask with ?wait=30 again and again."""
    client = Client(url)
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


def measure(url: str, mount: Path, clients: int, count: int, rounds: int) -> dict[str, list[float]]:
    """Both cases in turn, `rounds` times."""
    client = Client(url)
    hanging, busy = client.workspace(), client.workspace()
    taken: dict[str, list[float]] = {"none": [], "waiting": []}
    with (mount / hanging / ".wvs" / "agent.lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _ in range(rounds):
            taken["none"] += posts(client, busy, count)
            task_id = client.post(f"/v1/workspaces/{hanging}/snapshots")["task_id"]
            over = threading.Event()
            waiters = [threading.Thread(target=keep_waiting, args=(url, task_id, over)) for _ in range(clients)]
            for waiter in waiters:
                waiter.start()
            time.sleep(1)  # all of them have asked
            taken["waiting"] += posts(client, busy, count)
            over.set()
            client.http.post(f"/v1/tasks/{task_id}:cancel")
            for waiter in waiters:
                waiter.join()
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=60)
    parser.add_argument("--posts", type=int, default=50, help="in each round and case")
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    mount = Path(setting("EXECUTOR_MOUNT_PATH"))
    taken = measure(setting("WVS_API_URL"), mount, given.clients, given.posts, given.rounds)
    print(f"POST …/snapshots, {given.rounds} × {given.posts} in each case, milliseconds")
    for case, name in (("none", "nobody waits"), ("waiting", f"{given.clients} clients in ?wait=30")):
        cuts = statistics.quantiles(taken[case], n=100)
        print(f"  {name:<24} p50 {cuts[49] * 1e3:7.2f}   p95 {cuts[94] * 1e3:7.2f}   p99 {cuts[98] * 1e3:7.2f}")


if __name__ == "__main__":
    main()

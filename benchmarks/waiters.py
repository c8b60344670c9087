"""Whether clients that wait for a task slow down a POST (SPEC §4): its latency with and without 60 of them.

Against a running stack (`make up`); reads WVS_API_URL and EXECUTOR_MOUNT_PATH from `.stack/env` or the environment.
The waiters wait for a snapshot that hangs: its agent holds the agent lock and never answers. The two measurements
alternate within one run.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import statistics
import threading
import time
import uuid
from pathlib import Path

import httpx

ENV_FILE = Path(".stack/env")


def setting(name: str) -> str:
    """From the environment, else from the stack's file."""
    if name in os.environ:
        return os.environ[name]
    lines = ENV_FILE.read_text().splitlines() if ENV_FILE.exists() else []
    for line in lines:
        key, _, value = line.partition("=")
        if key == name:
            return value
    raise SystemExit(f"{name} is not set, and not in {ENV_FILE}: is the stack up?")


class Client:
    """A client of the API that keeps its connection."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=90)

    def post(self, path: str, body: dict[str, object]) -> dict[str, str]:
        """An asynchronous write with a fresh key."""
        answer = self.http.post(path, json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
        answer.raise_for_status()
        return dict(answer.json())

    def wait(self, task_id: str, seconds: int = 60) -> None:
        """Until the task is finished."""
        while True:
            answer = self.http.get(f"/v1/tasks/{task_id}", params={"wait": seconds})
            if answer.json()["ended_at"] is not None:
                return
            time.sleep(float(answer.headers.get("Retry-After", 0)))

    def workspace(self) -> str:
        """A fresh one, ACTIVE."""
        wsid = f"bench-{uuid.uuid4().hex[:12]}"
        self.wait(self.post("/v1/workspaces", {"wsid": wsid, "owner": "benchmark"})["init_task_id"])
        return wsid


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
        task = client.post(f"/v1/workspaces/{wsid}/snapshots", {})
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
            task_id = client.post(f"/v1/workspaces/{hanging}/snapshots", {})["task_id"]
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

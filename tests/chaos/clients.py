"""Random clients: every kind of request, at any time, from several threads; what they do follows from the seed."""

from __future__ import annotations

import threading
import uuid
from contextlib import suppress
from random import Random
from typing import Any, Final

from tests.chaos.caller import Caller, Ledger

MOST_SNAPSHOTS: Final = 6
_MOST_WAITING: Final = 30
_LONGEST_PAUSE: Final = 0.25


class Clients:
    """`count` threads between start() and stop(). `kept` are workspaces that are never disabled."""

    def __init__(self, url: str, seed: int, kept: list[str], *, count: int = 3, most_workspaces: int = 14) -> None:
        self.ledger = Ledger()
        self._url = url
        self._kept = frozenset(kept)
        self._wsids = list(kept)
        self._most = most_workspaces
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(Random(f"{seed} client {number}"),), daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No more requests; those under way are given up or answered."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def wsids(self) -> list[str]:
        """The workspaces that they know of."""
        return list(self._wsids)

    def _run(self, rng: Random) -> None:
        caller = Caller(self._url, self.ledger, self._stopping)
        try:
            while not self._stopping.wait(rng.uniform(0, _LONGEST_PAUSE)):
                self._act(caller, rng)
        except Exception as error:
            self.ledger.complain(f"a client failed: {error!r}")
            raise
        finally:
            caller.close()

    def _act(self, caller: Caller, rng: Random) -> None:
        actions = {
            self._create: 2 if len(self._wsids) < self._most else 0,
            self._snapshot: 8 if self._has_room(caller) else 0,
            self._switch: 5,
            self._drop: 5,
            self._cancel: 3,
            self._disable: 0.2,
            self._retry_init: 0.5,
            self._look: 4,
        }
        (action,) = rng.choices(list(actions), list(actions.values()))
        action(caller, rng)

    def _has_room(self, caller: Caller) -> bool:
        waiting = caller.get(f"/tasks?status=PENDING&limit={_MOST_WAITING}")
        return waiting is None or waiting["next_cursor"] is None

    def _some(self, rng: Random) -> str:
        return rng.choice(self._wsids)

    def _write(self, caller: Caller, rng: Random, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        key = uuid.UUID(int=rng.getrandbits(128)).hex
        said = caller.write(method, path, body, key)
        task_id = said.get("task_id") or said.get("init_task_id")
        if task_id and rng.random() < 0.25:
            caller.replay(rng, method, path, body, key, task_id)

    def _create(self, caller: Caller, rng: Random) -> None:
        wsid = f"chaos-{rng.getrandbits(48):012x}"
        self._write(caller, rng, "POST", "/workspaces", {"wsid": wsid, "owner": "me"})
        self._wsids.append(wsid)

    def _snapshot(self, caller: Caller, rng: Random) -> None:
        wsid = self._some(rng)
        if len(self._snapshots(caller, wsid)) < MOST_SNAPSHOTS:
            self._write(caller, rng, "POST", f"/workspaces/{wsid}/snapshots", {"message": "by chance"})

    def _switch(self, caller: Caller, rng: Random) -> None:
        wsid = self._some(rng)
        if found := self._snapshots(caller, wsid):
            body = {"snapshot_id": rng.choice(found), "fresh": rng.random() < 0.5}
            self._write(caller, rng, "POST", f"/workspaces/{wsid}/current:set", body)

    def _drop(self, caller: Caller, rng: Random) -> None:
        wsid = self._some(rng)
        if found := self._snapshots(caller, wsid):
            self._write(caller, rng, "DELETE", f"/workspaces/{wsid}/snapshots/{rng.choice(found)}")

    def _cancel(self, caller: Caller, rng: Random) -> None:
        tasks = caller.get(f"/tasks?status={rng.choice(['PENDING', 'RUNNING', 'FAILED'])}")
        if tasks and tasks["items"]:
            caller.write("POST", f"/tasks/{rng.choice(tasks['items'])['task_id']}:cancel", None)

    def _disable(self, caller: Caller, rng: Random) -> None:
        if others := [wsid for wsid in self._wsids if wsid not in self._kept]:
            wsid = rng.choice(others)
            if caller.write("DELETE", f"/workspaces/{wsid}", None):
                with suppress(ValueError):  # another client was faster
                    self._wsids.remove(wsid)

    def _retry_init(self, caller: Caller, rng: Random) -> None:
        found = caller.get("/workspaces?state=INIT_FAILED")
        for workspace in found["items"] if found else []:
            self._write(caller, rng, "POST", f"/workspaces/{workspace['wsid']}/retry-init")

    def _look(self, caller: Caller, rng: Random) -> None:
        wsid = self._some(rng)
        places = ["/workspaces", f"/workspaces/{wsid}", f"/workspaces/{wsid}/current", "/tasks", f"/audit?wsid={wsid}"]
        caller.get(rng.choice(places))
        if self.ledger.accepted and rng.random() < 0.5:
            task_id = rng.choice(list(self.ledger.accepted))
            task = caller.get(f"/tasks/{task_id}?wait=1")
            if task is not None and task["task_id"] != task_id:
                self.ledger.complain(f"asked for {task_id}, got {task['task_id']}")

    @staticmethod
    def _snapshots(caller: Caller, wsid: str) -> list[str]:
        found = caller.get(f"/workspaces/{wsid}/snapshots?limit=100")
        return [item["snapshot_id"] for item in found["items"]] if found else []

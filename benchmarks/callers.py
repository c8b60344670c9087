"""Clients of many workspaces, each making one snapshot after the other, and what they waited in a window of time."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from benchmarks.stack import Client, Failed

LIMIT: Final = 180.0
_PULSE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Sample:
    """One snapshot, from its POST to its being known to have succeeded; by the monotonic clock."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """What the client waited."""
        return self.ended - self.began


class Caller(threading.Thread):
    """The client of one workspace, until it is told that it is over."""

    def __init__(self, url: str, wsid: str, pause: float, over: threading.Event) -> None:
        super().__init__(name=wsid, daemon=True)
        self.samples: list[Sample] = []
        self._api = Client(url)
        self._wsid = wsid
        self._pause = pause
        self._over = over
        self.asked_at = -math.inf
        """When it asked last; by the monotonic clock."""

    def run(self) -> None:
        """One snapshot after the other, with pauses, so that the machine is not all that is measured."""
        chance = random.Random(self._wsid)
        while not self._over.wait(self._pause * (0.5 + chance.random())):
            began = self.asked_at = time.monotonic()
            accepted = self._api.post(f"/v1/workspaces/{self._wsid}/snapshots")
            self._api.succeeded(accepted["task_id"], LIMIT)
            self.samples.append(Sample(began, time.monotonic()))

    @property
    def _had(self) -> float:
        return self.samples[-1].began if self.samples else -math.inf

    def settle(self, moment: float) -> None:
        """Return when what was asked for before that moment is had, or the client has given up."""
        while self.asked_at < moment and self._had < self.asked_at and self.is_alive():
            time.sleep(_PULSE)


def waited(callers: Iterable[Caller], begin: float, end: float, ended: float = math.inf) -> list[float]:
    """What they waited for what they asked for between the two moments, and had by the third. Seconds."""
    taken = (sample for caller in callers for sample in caller.samples)
    return [sample.seconds for sample in taken if begin <= sample.began < end and sample.ended <= ended]


def require_alive(callers: Iterable[threading.Thread]) -> None:
    """Raises Failed when a client has given up."""
    for caller in callers:
        if not caller.is_alive():
            raise Failed(f"the client of {caller.name} has given up")


class Paced(threading.Thread):
    """A client of one workspace that makes snapshots flat out, or one each `interval` seconds once that is set."""

    def __init__(self, url: str, wsid: str, over: threading.Event) -> None:
        super().__init__(name=wsid, daemon=True)
        self.interval = 0.0
        self.made = 0
        self._api = Client(url)
        self._wsid = wsid
        self._over = over

    def run(self) -> None:
        """Until it is told that it is over."""
        due = time.monotonic()
        while not self._over.wait(max(due - time.monotonic(), 0.0)):
            due = max(due, time.monotonic() - self.interval) + self.interval
            task = self._api.post(f"/v1/workspaces/{self._wsid}/snapshots")["task_id"]
            self._api.succeeded(task, LIMIT)
            self.made += 1

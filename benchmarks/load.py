"""Clients that ask one thing after the other, in turn with those they are compared with.

They are threads of this process with a raw connection each, and share the machine with the servers: ratios count. A
request costs them a fraction of what it costs the server, so it is not they who are measured: see `in_turn`.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from benchmarks.stack import Failed

_TIMEOUT: Final = 60.0


class Connection:
    """One kept connection. Not thread-safe."""

    def __init__(self, url: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """The body of the answer. Raises Failed for anything but a 2xx."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        self._http.request(method, path, body, sent)
        answer = self._http.getresponse()
        read = answer.read()
        if not 200 <= answer.status < 300:
            raise Failed(f"{method} {path}: {answer.status} {read[:300]!r}")
        return read

    def close(self) -> None:
        """Close it."""
        self._http.close()


Ask = Callable[[Connection], object]


@dataclass
class Side:
    """One of those compared: where it is, what is asked, and what came of it, in seconds."""

    name: str
    url: str
    ask: Ask
    seconds: list[float] = field(default_factory=list)

    def burst(self, clients: int, each: int, *, keep: bool = True) -> None:
        """That many clients at once, each with that many requests. Raises what one of them raised."""
        together = threading.Barrier(clients)

        def one(_: int) -> list[float]:
            connection = Connection(self.url)
            try:
                self.ask(connection)  # connected, and the server's thread and its own connection are warm
                together.wait(_TIMEOUT)
                return [_timed(self.ask, connection) for _ in range(each)]
            finally:
                connection.close()

        with ThreadPoolExecutor(clients) as pool:
            for seconds in pool.map(one, range(clients)):
                self.seconds += seconds if keep else []


def _timed(ask: Ask, connection: Connection) -> float:
    began = time.perf_counter()
    ask(connection)
    return time.perf_counter() - began


def in_turn(sides: Sequence[Side], *, clients: int, each: int, rounds: int) -> float:
    """Every side warmed up once, then ABAB…: what the machine does meanwhile hits all alike.

    Returns the clients' own share of one core: near 1 it would be they who are measured.
    """
    for side in sides:
        side.burst(clients, max(each // 4, 1), keep=False)
    began, used = time.monotonic(), time.process_time()
    for _ in range(rounds):
        for side in sides:
            side.burst(clients, each)
    return (time.process_time() - used) / (time.monotonic() - began)

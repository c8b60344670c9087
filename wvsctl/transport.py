"""One request, tried again where that is safe and of use.

A request that was not answered is sent again unchanged, a write with the same Idempotency-Key, so that it is done once
however often it is sent. Refusals (4xx) are never repeated.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from wvsctl.errors import ApiError, Unreachable

BACKOFF_BASE: Final = 0.2
BACKOFF_CAP: Final = 5.0
_PASSING: Final = (500, 502, 503, 504)
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: its JSON, its headers, and whether it took more than one try."""

    body: Any
    headers: Mapping[str, str]
    was_repeated: bool

    @property
    def replayed(self) -> bool:
        """Whether the API had done this request before."""
        return self.headers.get("Idempotent-Replayed") == "true"

    @property
    def retry_after(self) -> float | None:
        """Seconds."""
        return seconds_in(self.headers.get("Retry-After"))


class Transport:
    """`retry_for`: seconds from the first try in which a further one may begin. Not for several threads at once."""

    def __init__(
        self,
        url: str,
        *,
        request_timeout: float,
        retry_for: float,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        on_retry: Callable[[str], None] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.clock = clock
        self.sleep = sleep
        self._on_retry = on_retry
        self._request_timeout = request_timeout
        self._retry_for = retry_for
        # A proxy that the environment names is not for this very machine.
        trust_env = httpx.URL(self.url).host not in _LOOPBACK
        self._http = httpx.Client(base_url=self.url, transport=transport, trust_env=trust_env)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        key: str | None = None,
        patience: float = 0.0,
        at_most: float | None = None,
    ) -> Answer:
        """The answer to it. Raises ApiError, Unreachable.

        `patience`: seconds that the API was asked to take. `at_most`: seconds to try again, if less than usual.
        """
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        headers = {"Idempotency-Key": key} if key else {}
        timeout = self._request_timeout + patience
        request = self._http.build_request(method, path, params=given, json=body, headers=headers, timeout=timeout)
        end = self.clock() + min(self._retry_for, self._retry_for if at_most is None else at_most)
        tries = 0
        while True:
            outcome = self._send(request)
            tries += 1
            if isinstance(outcome, httpx.Response) and outcome.is_success:
                return Answer(self._body(outcome), outcome.headers, was_repeated=tries > 1)
            pause = self._pause(outcome, tries)
            if pause is None or self.clock() + pause > end:
                raise self._error(outcome, was_repeated=tries > 1)
            if tries == 1 and self._on_retry is not None:
                self._on_retry(str(self._error(outcome, was_repeated=False)))
            self.sleep(pause)

    def _send(self, request: httpx.Request) -> httpx.Response | httpx.TransportError:
        try:
            return self._http.send(request)
        except httpx.TransportError as error:
            return error

    @staticmethod
    def _pause(outcome: httpx.Response | httpx.TransportError, tries: int) -> float | None:
        """Seconds until the next try; None where a further one is of no use."""
        jittered: float = min(BACKOFF_BASE * 2 ** (tries - 1), BACKOFF_CAP) * random.uniform(0.5, 1.0)  # noqa: S311
        if isinstance(outcome, httpx.UnsupportedProtocol):
            return None
        if isinstance(outcome, httpx.TransportError):
            return jittered
        asked = seconds_in(outcome.headers.get("Retry-After"))
        # A 500 that will pass says when; one that says nothing is a crash, which comes again.
        crashed = outcome.status_code == httpx.codes.INTERNAL_SERVER_ERROR and asked is None
        if outcome.status_code not in _PASSING or crashed:
            return None
        return jittered if asked is None else max(asked, jittered)

    def _body(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise self._not_ours(response) from None

    def _error(self, outcome: httpx.Response | httpx.TransportError, *, was_repeated: bool) -> ApiError | Unreachable:
        if isinstance(outcome, httpx.TransportError):
            return Unreachable(self.url, str(outcome) or type(outcome).__name__)
        try:
            body = outcome.json()
            return ApiError(
                code=body["code"],
                message=body["message"],
                status=outcome.status_code,
                request_id=body["request_id"],
                details=body["details"],
                retry_after=seconds_in(outcome.headers.get("Retry-After")),
                was_repeated=was_repeated,
            )
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
            return self._not_ours(outcome)

    def _not_ours(self, response: httpx.Response) -> ApiError:
        """What a proxy, or another program on this port, says."""
        said = f"{self.url} does not answer as the API of WVS does ({response.status_code} {response.reason_phrase})"
        return ApiError(code=f"HTTP_{response.status_code}", message=said, status=response.status_code)


def seconds_in(header: str | None) -> float | None:
    """Of a Retry-After in seconds; None for none, and for a date, which WVS does not send."""
    return float(header) if header is not None and header.isdecimal() else None

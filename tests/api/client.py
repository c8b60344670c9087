"""A client of the API for tests: what it gets back was held against the OpenAPI document."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.test import Client

from tests.api.contract import Sent, check
from wvs_project.errors import ErrorCode

FRESH: Final = "a fresh key"
_ABSENT: Final = object()


@dataclass(frozen=True)
class Answer:
    """An answer that is as documented."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def items(self) -> list[Any]:
        items: list[Any] = self.body["items"]
        return items

    @property
    def replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"

    def refused(self, code: ErrorCode, status: int | None = None) -> dict[str, Any]:
        """Assert that it is this refusal; its details."""
        assert (self.status, self.body["code"]) == (status or code.status, code.code), self.content
        details: dict[str, Any] = self.body["details"]
        return details

    def accepted(self) -> Any:
        """Assert that it is a 202; its body."""
        assert self.status == 202, self.content
        return self.body

    def found(self) -> Any:
        """Assert that it is a 200; its body."""
        assert self.status == 200, self.content
        return self.body


class Api:
    """`key` is an Idempotency-Key: a fresh one unless given, none if None."""

    def __init__(self) -> None:
        self._client = Client(raise_request_exception=False)

    def get(self, path: str, query: Mapping[str, object] | str = "", **headers: str) -> Answer:
        return self.send("GET", path, query=query, headers=headers)

    def post(self, path: str, body: object = _ABSENT, *, key: str | None = FRESH) -> Answer:
        return self.send("POST", path, content=_encoded(body), headers=_key(key))

    def delete(self, path: str, body: object = _ABSENT, *, key: str | None = FRESH) -> Answer:
        return self.send("DELETE", path, content=_encoded(body), headers=_key(key))

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | str = "",
        content: bytes = b"",
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        **environ: Any,
    ) -> Answer:
        query = query if isinstance(query, str) else urlencode(query)
        given = dict(headers or {})
        response = self._client.generic(
            method,
            path,
            content,
            content_type=content_type,
            headers=given,
            QUERY_STRING=query,
            **environ,
        )
        answer = b"".join(response) if response.streaming else response.content
        check(Sent(method, path, query, given, content), response.status_code, response.headers, answer)
        return Answer(response.status_code, response.headers, answer)


def _encoded(body: object) -> bytes:
    return b"" if body is _ABSENT else json.dumps(body).encode()


def _key(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    return {"Idempotency-Key": uuid.uuid4().hex if key is FRESH else key}

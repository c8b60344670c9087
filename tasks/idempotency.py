"""Idempotency (SPEC §4): pure.

A request is the same when method, path and body are the same; the body is compared in a canonical form, so that key
order, spacing and the way a number or a character is written make no difference, while an unknown field does (P2-03).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Final

KEY_PATTERN: Final = r"^[\x21-\x7e]{1,255}$"
"""What an Idempotency-Key may be: 1 to 255 visible ASCII characters."""

_EXACT: Final = Context(prec=5000)
"""Decimal's own context would round to 28 digits and take two numbers for one."""


@dataclass(frozen=True, slots=True)
class IdempotencyToken:
    """What makes a write repeatable, and the request it came with."""

    key: str
    request_hash: str
    request_id: str
    traceparent: str = ""


def _canonical(value: object) -> object:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, (float, Decimal)):
        return _canonical_number(Decimal(repr(value)) if isinstance(value, float) else value)
    return value


def _canonical_number(number: Decimal) -> object:
    """An integer where it is one and not absurdly long, else its shortest decimal form, kept apart from strings."""
    if number == 0:
        return 0
    number = number.normalize(_EXACT)
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if 0 <= exponent <= 64:
        return int(number)
    return {"\u0000number": str(number)}


def canonical_json(body: object) -> str:
    """Keys sorted recursively, no spaces; 1, 1.0 and 1e0 are the same number."""
    return json.dumps(_canonical(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def request_hash(*, method: str, path: str, body: object) -> str:
    """SHA-256, in hexadecimal, of the canonical body with method and path."""
    text = f"{canonical_json(body)}\n{method.upper()}\n{path}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

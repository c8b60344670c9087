"""The body of a request: at most 64 KiB of strict JSON, an object (SPEC §4, ADR 7).

What two readers could understand differently is refused: a duplicate key, NaN, a lone surrogate, a NUL. Numbers come
as int and Decimal, so that nothing is lost before the request is hashed.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final, NoReturn, Protocol, cast

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.request import Request

from wvs_project.http.exceptions import BodyTooLarge

MAX_BODY_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 32
MAX_NUMBER_LENGTH: Final = 64
_MAX_EXPONENT: Final = 1000


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_json(request: Request) -> dict[str, Any]:
    """The body as an object; no bytes at all count as `{}`.

    Raises BodyTooLarge (413), UnsupportedMediaType (415) or ParseError (400).
    """
    raw = _read_body(cast(WSGIRequest, request._request))
    if not raw:
        return {}
    media_type, _, parameters = (request.content_type or "").partition(";")
    if media_type.strip().lower() != "application/json":
        raise UnsupportedMediaType(media_type, f"send application/json, not {media_type.strip() or 'nothing'}")
    if parameters and "charset" in parameters.lower() and "utf-8" not in parameters.lower():
        raise UnsupportedMediaType(media_type, "JSON is UTF-8")
    return parse_json(raw)


def declared_length(request: HttpRequest) -> int | None:
    """Content-Length, or None where the body is chunked. Raises ParseError, BodyTooLarge."""
    if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        return None
    text = request.META.get("CONTENT_LENGTH") or "0"
    if not (text.isascii() and text.isdigit()):
        raise ParseError(f"Content-Length {text!r} is not a number")
    if len(text) > 18 or int(text) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"the body may have {MAX_BODY_BYTES} bytes, not {text[:18]}")
    return int(text)


def _read_body(request: WSGIRequest) -> bytes:
    length = declared_length(request)
    if length == 0:
        return b""
    # Django takes a request without Content-Length for one without a body, so chunks are read from the server itself.
    stream: _Stream = request.environ["wsgi.input"] if length is None else request
    try:
        raw = _read_at_most(stream, MAX_BODY_BYTES + 1 if length is None else length)
    except Exception as error:  # each server has its own for a broken chunk or a client that went away
        raise ParseError(f"the body cannot be read: {error}") from error
    if len(raw) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"the body may have {MAX_BODY_BYTES} bytes, and this has more")
    if length is not None and len(raw) < length:
        raise ParseError(f"the body ended after {len(raw)} of {length} bytes")
    return raw


def _read_at_most(stream: _Stream, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def parse_json(raw: bytes) -> dict[str, Any]:
    """Strict JSON, an object. Raises ParseError saying what is wrong."""
    try:
        value: object = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_decimal,
        )
    except UnicodeDecodeError as error:
        raise ParseError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ParseError(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise ParseError("the body is nested too deeply") from None
    _check(value, MAX_DEPTH)
    if not isinstance(value, dict):
        raise ParseError("the body must be a JSON object")
    return value


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    seen: dict[str, object] = {}
    for key, value in pairs:
        if key in seen:
            raise ParseError(f"the body has the key {_printable(key)} twice")
        seen[key] = value
    return seen


def _no_constant(text: str) -> NoReturn:
    raise ParseError(f"the body is not JSON: {text} is no JSON number")


def _integer(text: str) -> int:
    _check_length(text)
    return int(text)


def _decimal(text: str) -> Decimal:
    _check_length(text)
    exponent = text.lower().partition("e")[2] or "0"
    if abs(int(exponent)) > _MAX_EXPONENT:
        raise ParseError(f"the body has a number with an exponent beyond ±{_MAX_EXPONENT}")
    return Decimal(text)


def _check_length(text: str) -> None:
    if len(text) > MAX_NUMBER_LENGTH:
        raise ParseError(f"the body has a number of more than {MAX_NUMBER_LENGTH} characters")


def _check(value: object, depth: int) -> None:
    """Texts that PostgreSQL or UTF-8 cannot hold, and depth."""
    if depth == 0:
        raise ParseError("the body is nested too deeply")
    match value:
        case str():
            _check_text(value)
        case list():
            for item in value:
                _check(item, depth - 1)
        case dict():
            for key, item in value.items():
                _check_text(key)
                _check(item, depth - 1)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise ParseError("the body has a text with a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ParseError("the body has a lone surrogate, which is no character")


def _printable(text: str) -> str:
    return json.dumps(text[:100])

"""What no log may show (SPEC §11): struck out by what it is called, by what it looks like, and by what it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

STRUCK: Final = "***"
_SHORTEST: Final = 8
"""A shorter secret is none, and striking out each `wvs` would leave nothing to read."""
_NAMES: Final = re.compile(r"password|passwd|secret|authorization|api_?key|dsn|conninfo|cookie", re.IGNORECASE)
# scheme://user:password@host
_URL: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^/\s:@]*):([^@\s]*)@", re.IGNORECASE)
# password=… of a libpq connection string, SECRET_KEY=… of an environment, "Authorization: Bearer …" of a request
_ASSIGNED: Final = re.compile(
    r"((?:password|passwd|secret(?:_?key)?|authorization)['\"]?\s*[=:]\s*(?:(?:bearer|basic)\s+)?)"
    r"('[^']*'|\"[^\"]*\"|[^\s,;&]+)",
    re.IGNORECASE,
)
_BEARER: Final = re.compile(r"\b(bearer +)[a-z0-9._~+/=-]{8,}", re.IGNORECASE)

_known: frozenset[str] = frozenset()


def know(secrets: Iterable[str]) -> None:
    """These are struck out wherever they stand, in place of those known before."""
    global _known
    _known = frozenset(form for secret in secrets for form in (secret, unquote(secret)) if len(form) >= _SHORTEST)


def passwords_in(text: str) -> list[str]:
    """Those of a URL or of a libpq connection string."""
    return [match[2].strip("'\"") for pattern in (_URL, _ASSIGNED) for match in pattern.finditer(text)]


def strike_out_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: of every value that is to be written, tracebacks included."""
    for key, value in event.items():
        if not key.startswith("_"):
            event[key] = STRUCK if _is_secret(key) else struck(value)
    return event


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _NAMES.search(name) is not None


def struck(value: Any) -> Any:
    """The same without secrets. What is no JSON becomes text, for that is what will be written of it."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): STRUCK if _is_secret(str(key)) else struck(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [struck(item) for item in value]
    text = str(value)
    if not text.isascii():
        # A file's name may hold what no UTF-8 can say, and the whole line would be lost.
        text = text.encode(errors="backslashreplace").decode()
    for secret in _known:
        if secret in text:
            text = text.replace(secret, STRUCK)
    # Most texts are ids: what none of the patterns can match without is looked for first, which is far cheaper.
    if "://" in text:
        text = _URL.sub(rf"\1:{STRUCK}@", text)
    if "=" in text or ":" in text:
        text = _ASSIGNED.sub(rf"\1{STRUCK}", text)
    return _BEARER.sub(rf"\1{STRUCK}", text) if " " in text else text

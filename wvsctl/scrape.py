"""The metrics ports of WVS's processes: what they count, and whether they are ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx

from wvsctl.exposition import Metrics, NotMetrics

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Source:
    """One metrics port and whether it answered; `error` says why not."""

    url: str
    ok: bool
    error: str | None


def page_of(url: str) -> str:
    """Where the metrics of a port are: its /metrics, unless another path is given."""
    return url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/metrics"


def base_of(url: str) -> str:
    """The port itself."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def scrape(urls: tuple[str, ...], timeout: float, *, shared: frozenset[str]) -> tuple[Metrics, list[Source]]:
    """All of them together, each once however often it is named, and which of them answered. `shared` as in Metrics."""
    metrics, sources = Metrics(shared), []
    for url in dict.fromkeys(map(page_of, urls)):
        try:
            answer = fetch(url, timeout)
            answer.raise_for_status()
            metrics.add_page(answer.text)
            sources.append(Source(url, ok=True, error=None))
        except (httpx.HTTPError, NotMetrics) as error:
            sources.append(
                Source(url, ok=False, error=str(error).splitlines()[0] if str(error) else type(error).__name__)
            )
    return metrics, sources


def fetch(url: str, timeout: float, params: Mapping[str, str] | None = None) -> httpx.Response:
    """One GET, one try. Raises httpx.HTTPError."""
    # A proxy that the environment names is not for this very machine.
    return httpx.get(url, params=params, timeout=timeout, trust_env=urlsplit(url).hostname not in _LOOPBACK)

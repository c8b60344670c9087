"""What Prometheus, or VictoriaMetrics, has stored of WVS's processes: asked by PromQL, once for each metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from wvsctl.exposition import Metrics, NotMetrics
from wvsctl.scrape import Source, fetch


def ask(
    url: str, names: Iterable[str], timeout: float, *, since: float, shared: frozenset[str]
) -> tuple[Metrics, Source]:
    """What was counted in the last `since` seconds, by all processes; of the names in `shared`, what they say now.

    A name that ends in `_count` stands for the whole histogram. Where a question fails, nothing is known.
    """
    metrics, shown = Metrics(shared), _without_password(url)
    try:
        for name, query in _queries(names, since, shared):
            for labels, value in _answer(url, query, timeout):
                metrics.samples[name][labels] += value
    except (httpx.HTTPError, NotMetrics) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Metrics(shared), Source(shown, ok=False, error=said.replace(url, shown))
    return metrics, Source(shown, ok=True, error=None)


def _queries(names: Iterable[str], since: float, shared: frozenset[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        histogram = name.removesuffix("_count")
        if name in shared:
            yield name, f"max({name})"
        elif histogram != name:
            yield from ((part, _grown(part, since)) for part in (name, f"{histogram}_sum", f"{histogram}_bucket"))
        else:
            yield name, _grown(name, since)


def _grown(name: str, since: float) -> str:
    # Millisecond digits are not understood everywhere, and no window is shorter than a second.
    return f"sum without (instance, job) (increase({name}[{max(round(since), 1)}s]))"


def _answer(url: str, query: str, timeout: float) -> list[tuple[tuple[tuple[str, str], ...], float]]:
    """Labels and values. Raises httpx.HTTPError, NotMetrics."""
    answer = fetch(f"{url}/api/v1/query", timeout, params={"query": query})
    answer.raise_for_status()
    try:
        said: Any = answer.json()
        return [(tuple(sorted(one["metric"].items())), float(one["value"][1])) for one in said["data"]["result"]]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise NotMetrics(f"no answer to a query: {answer.text[:80]!r}") from None


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

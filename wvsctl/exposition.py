"""What /metrics pages say, read and brought together. No more of the format than what Prometheus' own clients write."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

Labels = tuple[tuple[str, str], ...]

_SAMPLE: Final = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?(?:\s+#.*)?$")
_LABEL: Final = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)",?')
_ESCAPED: Final = re.compile(r"\\(.)")


class NotMetrics(Exception):
    """A line that is none of a metrics page."""


@dataclass
class Metrics:
    """Samples by name and labels. What several pages say is added, as counts and what each process has of its own are;
    of the names in `shared` each page tells the one truth of all, a moment apart, and the largest is taken.
    """

    shared: frozenset[str] = frozenset()
    samples: dict[str, dict[Labels, float]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))

    def add_page(self, text: str) -> None:
        """Raises NotMetrics, and has added nothing then."""
        for name, labels, value in list(_samples(text)):
            known = self.samples[name]
            known[labels] = max(known.get(labels, value), value) if name in self.shared else known[labels] + value

    def has(self, name: str) -> bool:
        """Whether anybody exports it. A metric with labels is exported once a label was seen."""
        return name in self.samples

    def total(self, name: str, **labels: str) -> float | None:
        """The sum of the samples with these labels; None if nobody exports the metric."""
        if not self.has(name):
            return None
        return sum(value for found, value in self.samples[name].items() if labels.items() <= dict(found).items())

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums by the values of a label."""
        sums: dict[str, float] = defaultdict(float)
        for labels, value in self.samples.get(name, {}).items():
            sums[dict(labels).get(label, "")] += value
        return dict(sorted(sums.items()))

    def histogram(self, name: str, **labels: str) -> Histogram | None:
        """None if nobody exports it."""
        count = self.total(f"{name}_count", **labels)
        if count is None:
            return None
        bounds: dict[float, float] = defaultdict(float)
        for found, value in self.samples.get(f"{name}_bucket", {}).items():
            its = dict(found)
            if labels.items() <= its.items() and "le" in its:
                bounds[float(its["le"])] += value
        return Histogram(count, self.total(f"{name}_sum", **labels) or 0.0, dict(sorted(bounds.items())))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Seconds that were counted: how many, their sum, and how many up to each bound."""

    count: float
    sum: float
    buckets: Mapping[float, float]

    @property
    def mean(self) -> float | None:
        """None if nothing was counted."""
        return self.sum / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """As `histogram_quantile` of Prometheus: linear in its bucket; beyond the last bound, that bound."""
        wanted, below, before = share * self.count, 0.0, 0.0
        if not self.count:
            return None
        for bound, up_to in self.buckets.items():
            if up_to >= wanted:
                if math.isinf(bound):
                    return below
                return below + (bound - below) * (wanted - before) / (up_to - before) if up_to > before else bound
            below, before = bound, up_to
        return None


def _samples(text: str) -> Iterator[tuple[str, Labels, float]]:
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _SAMPLE.match(stripped)
        try:
            if match is None:
                raise ValueError
            yield match[1], _labels(match[2] or ""), float(match[3])
        except ValueError:
            raise NotMetrics(f"no metric: {stripped[:80]!r}") from None


def _labels(text: str) -> Labels:
    if _LABEL.sub("", text).strip():
        raise ValueError
    return tuple(sorted((name, _ESCAPED.sub(_unescape, value)) for name, value in _LABEL.findall(text)))


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]

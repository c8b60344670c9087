"""What every benchmark answers with: rows, each compared within its own run. Percentiles and rounding are here alone.

A benchmark is a function `rows(site: Site) -> Iterator[Row]`; `benchmarks/catalog.py` lists them by name.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Measure = Literal["p50", "p99", "max", "ratio", "more"]
_DIGITS: Final = 4  # significant ones: more would claim what no run can know
_SIGNS: Final = {True: "≥", False: "≤"}


@dataclass(frozen=True, slots=True)
class Spread:
    """How samples lie, in the row's unit. Of fewer than a hundred samples p99 is next to the greatest."""

    n: int
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, samples: Sequence[float], scale: float = 1.0) -> Spread:
        """Of at least one sample, each times `scale` (1000: seconds given, milliseconds meant). Raises ValueError."""
        if not samples:
            raise ValueError("a row needs a sample")
        scaled = [sample * scale for sample in samples]
        p99 = statistics.quantiles(scaled, n=100, method="inclusive")[98] if len(scaled) > 1 else scaled[0]
        return cls(len(scaled), rounded(statistics.median(scaled)), rounded(p99), rounded(max(scaled)))


@dataclass(frozen=True, slots=True)
class Must:
    """One number of a row, and its bound: at most, or at least."""

    of: Measure
    bound: float
    at_least: bool = False

    def holds(self, value: float | None) -> bool:
        """Whether that number is within the bound; one that could not be measured is not."""
        if value is None:
            return False
        return value >= self.bound if self.at_least else value <= self.bound

    def said(self, unit: str) -> str:
        """For people."""
        shown = "" if self.of == "ratio" else f" {unit}"
        return f"{self.of} {_SIGNS[self.at_least]} {self.bound:g}{shown}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `ratio` and `more` compare `compared` (p50 unless said) of `spread` with that of `than`, measured in the same run.
    """

    what: str
    unit: str
    spread: Spread
    beside: str = ""
    """What it is compared with; empty: nothing."""
    than: Spread | None = None
    compared: Literal["p50", "p99"] = "p50"
    must: tuple[Must, ...] = ()
    notes: Mapping[str, object] = field(default_factory=dict)
    """More numbers and circumstances, for the JSON and the table's last column."""

    @property
    def ratio(self) -> float | None:
        """How many times the other."""
        other = None if self.than is None else getattr(self.than, self.compared)
        return rounded(getattr(self.spread, self.compared) / other) if other else None

    @property
    def more(self) -> float | None:
        """By how much above the other, in the row's unit."""
        if self.than is None:
            return None
        return rounded(getattr(self.spread, self.compared) - getattr(self.than, self.compared))

    @property
    def met(self) -> bool | None:
        """Whether it shows all that it must; None where nothing is asked."""
        return all(must.holds(self.number(must.of)) for must in self.must) if self.must else None

    def number(self, measure: Measure) -> float | None:
        """One number by its name."""
        if measure == "ratio":
            return self.ratio
        if measure == "more":
            return self.more
        return float(getattr(self.spread, measure))

    def missed(self) -> str:
        """What it must show and does not; empty when all is met."""
        return ", ".join(must.said(self.unit) for must in self.must if not must.holds(self.number(must.of)))


def rounded(value: float) -> float:
    """To four significant digits."""
    return float(f"{value:.{_DIGITS}g}")


def at_most(**bounds: float) -> tuple[Must, ...]:
    """`at_most(p50=10, p99=50)`."""
    return tuple(Must(_measure(name), bound) for name, bound in bounds.items())


def at_least(**bounds: float) -> tuple[Must, ...]:
    """`at_least(ratio=0.8)`."""
    return tuple(Must(_measure(name), bound, at_least=True) for name, bound in bounds.items())


def _measure(name: str) -> Measure:
    known: dict[str, Measure] = {"p50": "p50", "p99": "p99", "max": "max", "ratio": "ratio", "more": "more"}
    return known[name]


def all_met(rows: Iterable[Row]) -> bool:
    """Whether no row misses what it must show."""
    return all(row.met is not False for row in rows)

"""What is left of a run: one JSON for programs, one Markdown table for people. Both hold the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.rows import Row, all_met

JSON_NAME: Final = "bench.json"
TABLE_NAME: Final = "bench.md"
_HEAD: Final = ("what", "n", "p50", "p99", "beside, in the same run", "its p50", "its p99", "ratio", "must show", "met")
_MET: Final = {True: "yes", False: "**no**", None: ""}


@dataclass
class Measured:
    """One benchmark of a run."""

    name: str
    rows: list[Row] = field(default_factory=list)
    error: str = ""
    """Why it ended before its end; what it had measured by then stays."""
    seconds: float = 0.0
    skipped: str = ""

    @property
    def is_good(self) -> bool:
        """It came to its end, and shows what it must."""
        return not self.error and all_met(self.rows)


@dataclass
class Report:
    """A run, as far as it has come."""

    machine: Mapping[str, object] = field(default_factory=dict)
    small: bool = False
    measured: list[Measured] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Everything came to its end and shows what it must."""
        return all(measured.is_good for measured in self.measured)

    def as_json(self) -> dict[str, object]:
        """Everything."""
        benchmarks = [
            {
                "name": measured.name,
                "error": measured.error,
                "skipped": measured.skipped,
                "seconds": round(measured.seconds, 1),
                "rows": [_row_as_json(row) for row in measured.rows],
            }
            for measured in self.measured
        ]
        return {"machine": dict(self.machine), "small": self.small, "met": self.is_good, "benchmarks": benchmarks}

    def write(self, directory: Path) -> None:
        """Both files, replacing those of an earlier run."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / JSON_NAME).write_text(json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n")
        (directory / TABLE_NAME).write_text(self.as_markdown())

    def as_markdown(self) -> str:
        """The table, its notes below."""
        lines = [f"- {name}: {value}" for name, value in self.machine.items()]
        if self.small:
            lines += ["", "Measured small: the numbers mean nothing."]
        lines += ["", _line(_HEAD), _line(["---"] * len(_HEAD))]
        lines += [_line(_cells(measured.name, row)) for measured in self.measured for row in measured.rows]
        lines += ["", *self._remarks()]
        return "\n".join(lines) + "\n"

    def _remarks(self) -> list[str]:
        said = []
        for measured in self.measured:
            if measured.error or measured.skipped:
                said.append(f"- {measured.name}: {measured.error or measured.skipped}")
            for row in measured.rows:
                if row.notes:
                    notes = ", ".join(f"{name} {_flat(value)}" for name, value in row.notes.items())
                    said.append(f"- {measured.name}, {row.what}: {notes}")
        return said


def print_rows(rows: Iterable[Row]) -> int:
    """One JSON line a row, as it comes. Returns the exit code: 1 if one misses what it must show."""
    missed = False
    for row in rows:
        print(json.dumps(_row_as_json(row), ensure_ascii=False), flush=True)
        missed |= row.met is False
    return int(missed)


def _row_as_json(row: Row) -> dict[str, object]:
    return {
        **asdict(row),
        "ratio": row.ratio,
        "more": row.more,
        "must": [must.said(row.unit) for must in row.must],
        "met": row.met,
    }


def _cells(name: str, row: Row) -> list[str]:
    than = row.than
    return [
        f"{name}: {row.what}",
        str(row.spread.n),
        f"{row.spread.p50:g} {row.unit}",
        f"{row.spread.p99:g}",
        row.beside,
        "" if than is None else f"{than.p50:g}",
        "" if than is None else f"{than.p99:g}",
        "" if row.ratio is None else f"{row.ratio:.3g}{' (p99)' if row.compared == 'p99' else ''}",
        ", ".join(must.said(row.unit) for must in row.must),
        _MET[row.met],
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_flat(inner)}" for name, inner in value.items()) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)

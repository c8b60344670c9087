"""What is printed: results on stdout as a table or as JSON, everything else on stderr."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from wvsctl.config import OutputMode

_WIDE: Final = 1000
"""Columns of what is no terminal: a line that is piped on is never broken."""
_STYLES: Final = {
    "SUCCEEDED": "green",
    "ACTIVE": "green",
    "ok": "green",
    "RUNNING": "cyan",
    "PENDING": "cyan",
    "PROVISIONING": "cyan",
    "FAILED": "yellow",
    "CANCELED": "yellow",
    "DISABLED": "yellow",
    "DEAD": "red",
    "INIT_FAILED": "red",
    "wrong": "red",
}


class Output:
    """Both streams, and in which form results go out."""

    def __init__(self, mode: OutputMode) -> None:
        self.mode = mode
        self._out = _console(stderr=False)
        self.err = _console(stderr=True)

    @property
    def is_json(self) -> bool:
        """Whether results are read by a program."""
        return self.mode is OutputMode.JSON

    def result(self, value: object, table: Callable[[], RenderableType]) -> None:
        """A result: `value` as JSON, else what `table` makes."""
        if self.is_json:
            # Not through the console: nothing is wrapped, coloured or taken for markup.
            self._out.file.write(json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")
        elif self._out.is_terminal:
            self._out.print(table())
        else:
            with self._out.capture() as captured:
                self._out.print(table())
            self._out.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))

    def say(self, text: str) -> None:
        """A line beside the result; a program that reads JSON is told nothing."""
        if not self.is_json:
            self.err.print(Text(printable(text)), soft_wrap=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = _WIDE
    return console


def plain(value: Any) -> Any:
    """As JSON has it: dataclasses as objects with their fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def printable(text: object) -> str:
    """In one line and without what would steer a terminal: texts come from others."""
    return "".join(
        sign if sign.isprintable() else " " if sign.isspace() else "\N{REPLACEMENT CHARACTER}" for sign in str(text)
    )


def cell(value: object) -> Text:
    """A value as a table shows it."""
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    text = printable(value if not isinstance(value, dict | list) else json.dumps(value, ensure_ascii=False))
    return Text(text, style=_STYLES.get(text, ""))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, free: Sequence[str] = ()) -> Table:
    """Rows below their names. Columns in `free` may be broken into lines; ids are not, for they are copied."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, no_wrap=column not in free, overflow="fold")
    for row in rows:
        made.add_row(*map(cell, row))
    return made


def record(value: object) -> Table:
    """One thing: a line for each of its fields."""
    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    fields = value if isinstance(value, dict) else {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}  # type: ignore[arg-type]
    for name, one in fields.items():
        made.add_row(Text(name), cell(one))
    return made


def lines(*texts: str) -> RenderableType:
    """Lines that a terminal may wrap, and nothing else does."""
    return Group(*(Text(printable(text)) for text in texts))

"""Lists: one page, or all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from wvsctl.client import every
from wvsctl.models import Page
from wvsctl.output import table
from wvsctl.session import Session

T = TypeVar("T")
_ALL_AT_ONCE = 100


def show_page(
    session: Session,
    fetch: Callable[[int, str | None], Page[T]],
    columns: Sequence[str],
    row: Callable[[T], Sequence[object]],
    *,
    limit: int,
    cursor: str | None,
    every_page: bool,
    free: Sequence[str] = (),
) -> None:
    """`fetch(limit, cursor)` gives a page; `row` what a table shows of one."""
    page = _every_page(fetch, cursor) if every_page else fetch(limit, cursor)
    session.output.result(page, lambda: table(columns, map(row, page.items), free=free))
    if page.next_cursor:
        session.output.say(f"there are more: --cursor {page.next_cursor}, or --all")


def _every_page(fetch: Callable[[int, str | None], Page[T]], cursor: str | None) -> Page[T]:
    return Page(list(every(lambda at: fetch(_ALL_AT_ONCE, at or cursor))), None)

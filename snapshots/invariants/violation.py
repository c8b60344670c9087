"""A broken invariant, and the one way in which the checks read the tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection


@dataclass(frozen=True, slots=True)
class Violation:
    """`invariant`: I1 … I12, or `schema` for a rule of SPEC §5 that none of them names."""

    invariant: str
    wsid: str | None
    """None: of no workspace."""
    detail: str


def broken(invariant: str, query: str, *args: str | list[str]) -> Iterator[Violation]:
    """A violation for each row of a query, which has a wsid (or NULL) and a text. One statement sees one moment."""
    with connection.cursor() as cursor:
        cursor.execute(query, args)
        rows = cursor.fetchall()
    for wsid, detail in rows:
        yield Violation(invariant, wsid, detail)

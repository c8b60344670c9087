"""How a test tries what a guard forbids, and asks what is in the tables afterwards.

Whether the attempt is refused does not matter; what is in the tables does. So with the guard it holds, and without it,
it must be seen not to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from django.db import DatabaseError, connection, transaction

from snapshots.invariants import Violation
from tests.engine.world import query

Attempt = Callable[[], None]
"""Tries, and asserts."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """`beside`: other guards that refuse the same attempt; they are taken away in both runs."""

    attempt: Attempt
    beside: tuple[str, ...] = ()


ATTEMPTS: Final[dict[str, Guarded]] = {}
"""By the name of the guard."""


def guarded_by(name: str, *, beside: tuple[str, ...] = ()) -> Callable[[Attempt], Attempt]:
    """Enter the attempt under its guard's name."""

    def register(what: Attempt) -> Attempt:
        ATTEMPTS[name] = Guarded(what, beside)
        return what

    return register


def attempt(write: Callable[[], object]) -> None:
    """Write, as if the transaction were committed at once; a refusal undoes it."""
    try:
        with transaction.atomic():
            write()
            execute("SET CONSTRAINTS ALL IMMEDIATE")
    except DatabaseError:
        return
    finally:
        execute("SET CONSTRAINTS ALL DEFERRED")


def execute(statement: str, *args: str) -> None:
    """A statement that answers nothing."""
    with connection.cursor() as cursor:
        cursor.execute(statement, args)


def holds(check: Callable[[], Iterator[Violation]]) -> None:
    """What `manage.py check_invariants` asks is so."""
    assert list(check()) == []


def never(question: str) -> None:
    """No row answers the question."""
    assert query(question) == []


def copy(table: str, **changes: str) -> None:
    """Insert the only row once more, with other values (SQL) in some columns."""
    columns = [
        name
        for (name,) in query(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attgenerated = '' "
            "AND attidentity <> 'a' AND NOT attisdropped",
            table,
        )
    ]
    values = ", ".join(changes.get(name, name) for name in columns)
    execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}")


def update(table: str, **values: str) -> Callable[[], None]:
    """A statement that gives every row these values (SQL)."""
    changes = ", ".join(f"{column} = {value}" for column, value in values.items())
    return lambda: execute(f"UPDATE {table} SET {changes}")

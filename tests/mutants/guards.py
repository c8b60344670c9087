"""The guards that PostgreSQL has for us, by name, and a database without one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from django.db import connection, transaction

TABLES: Final = ("workspaces", "snapshots", "tasks", "audit")

# Not NOT NULL: a column's type, not a rule between rows. Not the triggers by which PostgreSQL keeps foreign keys.
_GUARDS: Final = """
SELECT conrelid::regclass::text, conname,
       format('ALTER TABLE %%s DROP CONSTRAINT IF EXISTS %%I CASCADE', conrelid::regclass, conname),
       format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE conrelid = ANY(%(tables)s::regclass[]) AND contype IN ('f', 'u', 'c', 'p', 'x')
UNION
SELECT indrelid::regclass::text, relname, format('DROP INDEX IF EXISTS %%I', relname), pg_get_indexdef(indexrelid)
FROM pg_index i JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = ANY(%(tables)s::regclass[]) AND indisunique
AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = indexrelid)
UNION
SELECT tgrelid::regclass::text, substring(tgname FROM '^(?:pgtrigger_)?(.*?)(?:_[0-9a-f]{5})?$'),
       format('DROP TRIGGER %%I ON %%s', tgname, tgrelid::regclass), pg_get_triggerdef(oid)
FROM pg_trigger WHERE tgrelid = ANY(%(tables)s::regclass[]) AND NOT tgisinternal
"""


@dataclass(frozen=True, slots=True)
class Guard:
    """A constraint, a unique index or a trigger."""

    table: str
    name: str
    """A trigger's without what pgtrigger adds."""
    drop: str
    restore: str


def guards() -> dict[str, Guard]:
    """Those of our tables, as the catalog tells."""
    with connection.cursor() as cursor:
        cursor.execute(_GUARDS, {"tables": list(TABLES)})
        return {row[1]: Guard(*row) for row in cursor.fetchall()}


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Within the context those guards are not there, for this connection; whatever is done in it is undone with it."""
    found = guards()
    with transaction.atomic():
        for name in names:
            _run(found[name].drop)
        yield
        transaction.set_rollback(True)


@contextmanager
def without_for_everybody(name: str) -> Iterator[None]:
    """The same for all connections, outside of any transaction; the tables are empty afterwards."""
    guard = guards()[name]
    _run(guard.drop)
    try:
        yield
    finally:
        _run(f"TRUNCATE {', '.join(TABLES)} CASCADE")  # what the guard would not let in
        _run(guard.restore)


def _run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)

"""What Django's model layer lacks for the rules of SPEC §5: composite foreign keys, sequences, the real clock.

A leaf: it knows Django's ORM and no app.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.db import connections
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement, Table
from django.db.models import BaseConstraint, BigIntegerField, DateTimeField, Func, Model, Value
from psycopg.conninfo import make_conninfo

_DJANGOS_OWN: Final = frozenset({"pool", "isolation_level", "server_side_binding", "assume_role"})


class CompositeForeignKey(BaseConstraint):
    """A foreign key over several columns, checked at once (NOT DEFERRABLE), MATCH SIMPLE, NO ACTION.

    With generated columns it says "while this row is so, that row must be so": a reference to a row that stops
    being live is refused by PostgreSQL whatever the caller forgot, and whoever races.
    """

    def __init__(self, *, name: str, columns: Sequence[str], to_table: str, to_columns: Sequence[str]) -> None:
        super().__init__(name=name)
        self.columns = tuple(columns)
        self.to_table = to_table
        self.to_columns = tuple(to_columns)

    def constraint_sql(self, model: type[Model], schema_editor: BaseDatabaseSchemaEditor) -> None:  # type: ignore[override]
        """Never inline: the other table may come later in the same migration."""
        return

    def create_sql(self, model: type[Model], schema_editor: BaseDatabaseSchemaEditor) -> Statement:  # type: ignore[override]
        """ALTER TABLE … ADD CONSTRAINT … FOREIGN KEY."""
        quote = schema_editor.quote_name
        return Statement(
            "ALTER TABLE %(table)s ADD CONSTRAINT %(name)s FOREIGN KEY (%(columns)s) "
            "REFERENCES %(to_table)s (%(to_columns)s)",
            table=Table(model._meta.db_table, quote),
            name=quote(self.name),
            columns=", ".join(map(quote, self.columns)),
            to_table=Table(self.to_table, quote),
            to_columns=", ".join(map(quote, self.to_columns)),
        )

    def remove_sql(self, model: type[Model], schema_editor: BaseDatabaseSchemaEditor) -> Statement:  # type: ignore[override]
        """ALTER TABLE … DROP CONSTRAINT."""
        quote = schema_editor.quote_name
        return Statement(
            "ALTER TABLE %(table)s DROP CONSTRAINT %(name)s",
            table=Table(model._meta.db_table, quote),
            name=quote(self.name),
        )

    def validate(self, *args: Any, **kwargs: Any) -> None:
        """Left to PostgreSQL: only it can decide under concurrency."""

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        """For migrations."""
        path, args, kwargs = super().deconstruct()
        kwargs |= {"columns": self.columns, "to_table": self.to_table, "to_columns": self.to_columns}
        return path, args, kwargs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompositeForeignKey) and self.deconstruct() == other.deconstruct()

    def __hash__(self) -> int:
        return hash(self.name)


class Nextval(Func):
    """The next value of a sequence."""

    function = "nextval"
    output_field = BigIntegerField()

    def __init__(self, sequence: str) -> None:
        super().__init__(Value(sequence))


class ClockTimestamp(Func):
    """The time now on PostgreSQL's clock, not the time the transaction began."""

    template = "clock_timestamp()"
    output_field = DateTimeField()


def read_clock() -> datetime:
    """The time now on the default database's clock."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def direct_conninfo(*, application_name: str) -> str:
    """How to reach the default database past Django and its pool: for LISTEN and for guards.

    With the same options, keepalives among them, so that a lost guard is known before its lock is taken for free.
    """
    settings = connections["default"].settings_dict
    options = {name: value for name, value in settings["OPTIONS"].items() if name not in _DJANGOS_OWN}
    return make_conninfo(
        **options
        | {
            "host": settings["HOST"],
            "port": settings["PORT"],
            "dbname": settings["NAME"],
            "user": settings["USER"],
            "password": settings["PASSWORD"],
            "application_name": application_name,
        }
    )

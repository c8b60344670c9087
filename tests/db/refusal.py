"""What PostgreSQL says when it refuses."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction


def refusal(statement: Callable[[], object]) -> psycopg.Error:
    """Run what must be refused, in a savepoint of its own; the server's error."""
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        statement()
    assert isinstance(caught.value.__cause__, psycopg.Error)
    return caught.value.__cause__


def refused_by(statement: Callable[[], object]) -> str | None:
    """The name of the constraint that refuses the statement."""
    return refusal(statement).diag.constraint_name


def sql(statement: str, *args: str | int | bool | None) -> None:
    """One statement, past every model."""
    with connection.cursor() as cursor:
        cursor.execute(statement, args)

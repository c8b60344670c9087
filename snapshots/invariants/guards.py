"""I10 as the server shows it now: no guard holds back VACUUM."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from django.db import connection

from snapshots.invariants.violation import Violation

_HOLDING_BACK: Final = """
SELECT pid, state_change, concat(application_name, ' (', pid, ') holds back VACUUM: backend_xmin ', backend_xmin,
                                 ', backend_xid ', backend_xid)
FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'
 AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
 AND (application_name = 'wvs-guard' OR (pid <> pg_backend_pid() AND pid IN (
      SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))))
"""


def i10_guards_hold_back_nothing() -> Iterator[Violation]:
    """No guard, and nobody else who holds RUN in an idle transaction, has a snapshot or a transaction id.

    Looked at twice: a guard has a snapshot while its statement runs, and the server does not show both in one moment.
    """
    before = _holding_back()
    after = _holding_back() if before else {}
    for idle, detail in after.items():
        if idle in before:
            yield Violation("I10", None, detail)


def _holding_back() -> dict[tuple[int, datetime], str]:
    """By server process and the moment since which it is idle."""
    with connection.cursor() as cursor:
        cursor.execute(_HOLDING_BACK)
        return {(pid, since): detail for pid, since, detail in cursor.fetchall()}

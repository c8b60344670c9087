"""That what PostgreSQL is to refuse, it does refuse: every constraint, unique index and trigger of SPEC §5 is in place.

Asks the models for their names and the catalog for what became of them. Does not see a constraint of the same name
that says something else, nor a session that has switched triggers off for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.db import connection
from django.db.models import Model

from snapshots.invariants.violation import Violation
from snapshots.models import Snapshot
from tasks.models import AuditEvent, Task
from workspaces.models import Workspace

_MODELS: Final[tuple[type[Model], ...]] = (Workspace, Snapshot, Task, AuditEvent)
_HOLDS_UP: Final = {
    "tasks_one_running_per_workspace": "I1",
    "tasks_transitions": "I2",
    "tasks_status_known": "I2",
    "tasks_attempt_within_max": "I4",
    "workspaces_current_snapshot_is_live": "I6",
    "tasks_ref_snapshot_is_live": "I6",
    "tasks_one_live_drop_per_snapshot": "I6",
    "snapshots_live_key": "I6",
    "tasks_ended_iff_finished": "I7",
    "tasks_running_has_fence": "I8",
    "tasks_idempotency": "I11",
}
"""Which invariant breaks first without it; the others are SPEC §5's own."""

# A foreign key is enforced by triggers of its own, which can be disabled. `conenforced` is PostgreSQL 18's.
_IN_PLACE: Final = """
SELECT conname FROM pg_constraint c WHERE conrelid = %s::regclass AND convalidated
 AND coalesce((to_jsonb(c) ->> 'conenforced')::bool, true)
 AND NOT EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgconstraint = c.oid AND t.tgenabled NOT IN ('O', 'A'))
UNION
SELECT relname FROM pg_index i JOIN pg_class ON pg_class.oid = i.indexrelid
WHERE i.indrelid = %s::regclass AND i.indisunique AND i.indisvalid
"""


def constraints_are_in_place() -> Iterator[Violation]:
    """Checks, foreign keys and unique indexes: there, valid, enforced."""
    for model in _MODELS:
        table = model._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(_IN_PLACE, [table, table])
            present = {row[0] for row in cursor.fetchall()}
        for constraint in model._meta.constraints:
            if constraint.name not in present:
                yield _missing("constraint", constraint.name)


def triggers_are_in_place() -> Iterator[Violation]:
    """Installed as the models say, and enabled."""
    for model in _MODELS:
        for trigger in getattr(model._meta, "triggers", ()):
            status, enabled = trigger.get_installation_status(model)
            if status != "INSTALLED" or not enabled:
                yield _missing("trigger", trigger.name, status if status != "INSTALLED" else "disabled")


def _missing(what: str, name: str, why: str = "missing, not valid or not enforced") -> Violation:
    return Violation(_HOLDS_UP.get(name, "schema"), None, f"{what} {name}: {why.lower()}")

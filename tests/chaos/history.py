"""What became of every task, change by change: a table that a trigger of PostgreSQL fills, for `check_invariants`.

Only tests install it: it costs a row for each change, and the tables themselves need no memory of what they were.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

_INSTALL: Final = """
CREATE TABLE IF NOT EXISTS wvs.task_history (
    id bigserial PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    task_id text NOT NULL,
    wsid text NOT NULL,
    seq bigint NOT NULL,
    op text NOT NULL,
    old_status text,
    new_status text NOT NULL,
    attempt int NOT NULL,
    old_fence bigint,
    fence bigint,
    outcome_unknown bool NOT NULL,
    pid int NOT NULL DEFAULT pg_backend_pid(),
    backend_start timestamptz NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    action text,
    process text
);
CREATE INDEX IF NOT EXISTS task_history_by_task ON wvs.task_history (task_id, id);

CREATE OR REPLACE FUNCTION wvs.task_history_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO wvs.task_history
        (task_id, wsid, seq, op, old_status, new_status, attempt, old_fence, fence, outcome_unknown, backend_start)
    VALUES (NEW.task_id, NEW.wsid, NEW.seq, NEW.op,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status, NEW.attempt,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.fence END, NEW.fence, NEW.outcome_unknown,
            (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())));
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER task_history_write AFTER INSERT OR UPDATE ON wvs.tasks
    FOR EACH ROW EXECUTE FUNCTION wvs.task_history_write();

CREATE OR REPLACE FUNCTION wvs.task_history_sign() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE wvs.task_history SET action = NEW.action, process = NEW.actor ->> 'id'
    WHERE task_id = NEW.task_id AND xid = pg_current_xact_id();
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER task_history_sign AFTER INSERT ON wvs.audit
    FOR EACH ROW WHEN (NEW.actor ->> 'type' IN ('worker', 'scheduler') AND NEW.task_id IS NOT NULL)
    EXECUTE FUNCTION wvs.task_history_sign();
"""
"""`process` and `action` come from the audit row of the same transaction: which process moved the task, and as what. A
server process serves one process of ours only, so one signed change tells who made all the others over (pid,
backend_start)."""

_REMOVE: Final = """
DROP TRIGGER IF EXISTS task_history_write ON wvs.tasks;
DROP TRIGGER IF EXISTS task_history_sign ON wvs.audit;
DROP FUNCTION IF EXISTS wvs.task_history_write();
DROP FUNCTION IF EXISTS wvs.task_history_sign();
DROP TABLE IF EXISTS wvs.task_history;
"""


class Connection(Protocol):
    """Django's or psycopg's."""

    def cursor(self) -> AbstractContextManager[Any]: ...


def install(connection: Connection) -> None:
    """Begin to record. May be repeated; what was recorded stays. The role owns the tables; the caller commits."""
    with connection.cursor() as cursor:
        cursor.execute(_INSTALL)


def remove(connection: Connection) -> None:
    """Stop, and forget."""
    with connection.cursor() as cursor:
        cursor.execute(_REMOVE)

"""Rows for `scale.py`, by SQL: a service with a history of so many tasks, believable and hard on lists.

What is rare among many is old or far between; every filter of every list finds more than a page, however small the
data. Constraints hold; triggers and foreign keys are off, since nothing else would be done in time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql

RARE: Final = 60
"""At least so many rows of each kind: more than a page of the admin."""
BUSY_TASKS: Final = 250
BUSY_SNAPSHOT: Final = "snap-01900000-0000-7000-8000-000000000000"
"""Named by every switch of the busy workspace."""
_TABLES: Final = ("workspaces", "tasks", "snapshots", "audit", "orders")
_SEQUENCES: Final = {"task_seq": ("tasks", "seq"), "task_fence": ("tasks", "fence")}
_LEAST_WORKSPACES: Final = 250
_ERROR: Final = {
    "code": "WVS_EXECUTOR_ERROR",
    "reason": "QUIESCE_TIMEOUT",
    "message": "the agent did not stand still within 30 s",
    "attempt": 5,
}


@dataclass(frozen=True, slots=True)
class Size:
    """How many of what. `finished` tasks ended within the last thirty days, `waiting` ones are live."""

    finished: int
    workspaces: int
    waiting: int

    @classmethod
    def of(cls, finished: int) -> Size:
        """As many others as go with it: 10,000 workspaces and 100,000 waiting for a million."""
        return cls(finished, max(_LEAST_WORKSPACES, finished // 100), max(3 * RARE, finished // 10))

    @property
    def busy(self) -> str:
        """The workspace with BUSY_TASKS finished tasks of its own."""
        return f"ws-{self.workspaces:07}"

    @property
    def quiet(self) -> str:
        """A workspace in which nothing waits."""
        return f"ws-{self.workspaces - 1:07}"


def fill(superuser_dsn: str, size: Size) -> None:
    """Put the rows into an empty, migrated database, and let PostgreSQL know them. As superuser: triggers are off."""
    with psycopg.connect(superuser_dsn, options="-c search_path=wvs", autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET work_mem = '64MB'")
        for statement in _statements(size):
            connection.execute(statement)
        for name, (table, column) in _SEQUENCES.items():
            highest = sql.SQL("SELECT setval({}, (SELECT max({}) FROM {}))")
            connection.execute(highest.format(sql.Literal(name), sql.Identifier(column), sql.Identifier(table)))
        for table in _TABLES:
            connection.execute(sql.SQL("VACUUM (FREEZE, ANALYZE) {}").format(sql.Identifier(table)))


def _statements(size: Size) -> Iterator[sql.Composed | sql.SQL]:
    rare_every = min(500, (size.finished - size.workspaces) // (RARE + 2))
    numbers: dict[str, int | str] = {
        "workspaces": size.workspaces,
        "of_a_team": max(1, size.workspaces // (RARE + 2)),
        "others": size.finished - size.workspaces,
        "waiting": size.waiting,
        "rare": RARE,
        "failed": max(RARE, size.waiting // 100),
        "first_active": 3 * RARE + 1,
        "active": size.workspaces - 3 * RARE - 2,
        "busy": size.workspaces,
        "busy_every": (size.finished - size.workspaces) // BUSY_TASKS,
        "rare_every": rare_every - 1 + rare_every % 2,  # odd: of every op
        "drops_every": max(1, min(40, (size.finished - size.workspaces) // (10 * RARE))),
        "busy_snapshot": BUSY_SNAPSHOT,
        "error": json.dumps(_ERROR),
    }
    # What the later ones read is analyzed before, or their joins would be planned for empty tables.
    for text in (_FUNCTIONS, _WORKSPACES, _INITS, _FINISHED, _WAITING, "ANALYZE tasks", _SNAPSHOTS, _AUDIT, _ORDERS):
        for part in text.split(";;"):
            yield sql.SQL(part).format(**{name: sql.Literal(value) for name, value in numbers.items()})


_FUNCTIONS: Final = """
CREATE FUNCTION pg_temp.wsid(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'ws-' || lpad(n::text, 7, '0') $$;;
CREATE FUNCTION pg_temp.id(kind text, at timestamptz, n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT kind || overlay(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') PLACING '-' FROM 9 FOR 0)
        || '-7000-8000-' || lpad(to_hex(n), 12, '0') $$;;
CREATE FUNCTION pg_temp.at(part float8) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT date_trunc('hour', now()) - interval '30 days' + part * interval '719 hours' $$
"""

# The states that are rare are those of the oldest. All that follow are ACTIVE, the busy and the quiet one last.
_WORKSPACES: Final = """
INSERT INTO workspaces (wsid, root_path, owner, state, state_before_disable, current_path, created_at, updated_at)
SELECT pg_temp.wsid(i), '/ws/' || pg_temp.wsid(i),
       CASE WHEN i % {of_a_team} = 0 THEN 'team-a' ELSE 'team-' || i % 50 END,
       state, CASE state WHEN 'DISABLED' THEN 'ACTIVE' END,
       CASE WHEN state IN ('ACTIVE', 'DISABLED') THEN '/ws/' || pg_temp.wsid(i) || '/live/initial' END,
       pg_temp.at(i::float8 / {workspaces}), pg_temp.at(i::float8 / {workspaces})
  FROM generate_series(1, {workspaces}) i,
       LATERAL (SELECT CASE WHEN i <= {rare} THEN 'INIT_FAILED' WHEN i <= 2 * {rare} THEN 'PROVISIONING'
                            WHEN i <= 3 * {rare} THEN 'DISABLED' ELSE 'ACTIVE' END AS state) s
 ORDER BY i
"""

_TASK_COLUMNS: Final = """
INSERT INTO tasks (task_id, seq, wsid, op, status, idempotency_key, request_hash, request_id, traceparent, actor,
                   created_at, started_at, ended_at, attempt, max_attempts, fence, outcome_unknown, next_run_at,
                   timeout_seconds, cancel_requested, params, result, error)
"""
_INITS: Final = (
    _TASK_COLUMNS
    + """
SELECT pg_temp.id('task-', w.created_at, n), n, wsid, 'init_workspace',
       CASE state WHEN 'INIT_FAILED' THEN 'DEAD' ELSE 'SUCCEEDED' END,
       md5(wsid), md5(wsid), 'req-' || md5(wsid), '', '{{"type": "anonymous", "id": "anonymous"}}',
       w.created_at, w.created_at, w.created_at + interval '1 second', 1, 5, n, false, w.created_at, 300, false,
       '{{}}', '{{"live_id": "initial"}}', CASE state WHEN 'INIT_FAILED' THEN {error}::jsonb END
  FROM workspaces w, LATERAL (SELECT right(wsid, 7)::bigint AS n) numbered
 ORDER BY n
"""
)

# Ten in a row are of one workspace: five snapshots, then switches, now and then two drops.
_FINISHED: Final = (
    _TASK_COLUMNS
    + """
SELECT pg_temp.id('task-', at, j), {workspaces} + j, wsid, op, status,
       md5(j::text), md5(j::text), 'req-' || md5(j::text), '', '{{"type": "anonymous", "id": "anonymous"}}',
       at, at + interval '5 ms', at + (1 + j % 7) * interval '90 ms',
       CASE status WHEN 'DEAD' THEN 5 WHEN 'CANCELED' THEN 0 ELSE 1 END, 5, {workspaces} + j, false, at, 300, false,
       jsonb_build_object('snapshot_id', snapshot_id, 'message', 'step ' || j),
       CASE status WHEN 'SUCCEEDED' THEN jsonb_build_object('snapshot_id', snapshot_id, 'entries', j % 10000) END,
       CASE status WHEN 'DEAD' THEN {error}::jsonb END
  FROM (SELECT *, CASE WHEN op = 'set_current' AND wsid = pg_temp.wsid({busy}) THEN {busy_snapshot}
                       ELSE pg_temp.id('snap-', pg_temp.at(made::float8 / {others}), made) END AS snapshot_id
          FROM (SELECT j, pg_temp.at(j::float8 / {others}) AS at,
                       CASE WHEN j / 10 % ({busy_every}) = 1 THEN pg_temp.wsid({busy})
                            ELSE pg_temp.wsid({first_active} + (j / 10 * 7919) % {active}) END AS wsid,
                       CASE WHEN j % 10 < 5 THEN 'snapshot_create' WHEN j % 10 < 8 THEN 'set_current'
                            WHEN j / 10 % {drops_every} = 0 THEN 'snapshot_drop' ELSE 'set_current' END AS op,
                       CASE WHEN j % 10 < 5 THEN j ELSE j - 5 END AS made,
                       CASE j % {rare_every} WHEN 3 THEN 'DEAD' WHEN 7 THEN 'CANCELED' ELSE 'SUCCEEDED' END AS status
                  FROM generate_series(1, {others}) j) numbered) named
 ORDER BY j
"""
)

# The newest of all, in the last hour; one workspace runs one. Those that wait for a retry are the oldest of them.
_WAITING: Final = (
    _TASK_COLUMNS
    + """
SELECT pg_temp.id('task-', at, n), n, wsid, 'snapshot_create', status,
       md5(n::text), md5(n::text), 'req-' || md5(n::text), '', '{{"type": "anonymous", "id": "anonymous"}}',
       at, CASE WHEN status <> 'PENDING' THEN at END, NULL, CASE WHEN status = 'PENDING' THEN 0 ELSE 1 END, 5,
       CASE WHEN status <> 'PENDING' THEN n END, false,
       CASE status WHEN 'FAILED' THEN now() + interval '1 hour' ELSE at END, 300, false,
       jsonb_build_object('snapshot_id', pg_temp.id('snap-', at, n), 'message', 'step ' || n), NULL,
       CASE status WHEN 'FAILED' THEN {error}::jsonb END
  FROM (SELECT i + {workspaces} + {others} AS n, pg_temp.wsid({first_active} + i % {active}) AS wsid,
               date_trunc('hour', now()) - interval '1 hour' + i::float8 / {waiting} * interval '1 hour' AS at,
               CASE WHEN i <= {rare} THEN 'RUNNING' WHEN i <= {rare} + {failed} THEN 'FAILED'
                    ELSE 'PENDING' END AS status
          FROM generate_series(1, {waiting}) i) numbered
 ORDER BY n
"""
)

_SNAPSHOTS: Final = """
INSERT INTO snapshots (snapshot_id, wsid, fs_path, message, entries, bytes, manifest_digest, created_by, created_at,
                       deleted_at, deleted_by)
SELECT made.snapshot_id, made.wsid, '/ws/' || made.wsid || '/snapshots/' || made.snapshot_id,
       made.params ->> 'message', made.seq % 10000, made.seq % 10000 * 4096, 'sha256:' || md5(made.task_id) || md5(''),
       made.task_id, made.ended_at, dropped.ended_at, dropped.task_id
  FROM tasks made
  LEFT JOIN tasks dropped ON dropped.snapshot_id = made.snapshot_id AND dropped.op = 'snapshot_drop'
                             AND dropped.status = 'SUCCEEDED'
 WHERE made.op = 'snapshot_create' AND made.status = 'SUCCEEDED'
 ORDER BY made.seq;;
UPDATE snapshots SET orphaned_at = now() WHERE snapshot_id IN
    (SELECT snapshot_id FROM snapshots WHERE deleted_at IS NULL ORDER BY snapshot_id LIMIT {rare})
"""

_AUDIT: Final = """
INSERT INTO audit (ts, wsid, actor, action, request_id, task_id, payload)
SELECT ts, wsid, actor, action, request_id, task_id, payload
  FROM (SELECT created_at AS ts, 'workspace.' || op AS action, '{{"after": {{"status": "PENDING"}}}}'::jsonb AS payload,
               wsid, actor, request_id, task_id FROM tasks
         UNION ALL
        SELECT ended_at,
               CASE status WHEN 'DEAD' THEN 'task.dead' WHEN 'CANCELED' THEN 'task.cancel' ELSE 'workspace.' || op END,
               jsonb_build_object('after', jsonb_build_object('status', status), 'error', error),
               wsid, actor, request_id, task_id FROM tasks WHERE ended_at IS NOT NULL) events
 ORDER BY ts
"""

_ORDERS: Final = """
INSERT INTO orders (wsid, kind, actor, request_id, created_at, ended_at, outcome, error)
SELECT wsid, 'sweep', '{{"type": "operator", "id": "ann"}}', '', created_at, created_at, '{{"outcome": "done"}}', ''
  FROM workspaces ORDER BY created_at;;
INSERT INTO orders (wsid, kind, actor, request_id, created_at, ended_at, outcome, error)
SELECT pg_temp.wsid({busy}), 'sweep', '{{"type": "operator", "id": "ann"}}', '', at, at, '{{"outcome": "done"}}', ''
  FROM generate_series(1, {rare}) i, LATERAL (SELECT pg_temp.at(i::float8 / {rare}) AS at) moments
"""

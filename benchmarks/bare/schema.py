"""The one table: as many columns as an answer needs. The benchmark makes it: no migration of WVS's does."""

from __future__ import annotations

from typing import Final

TABLE: Final = "bare_item"
CREATE: Final = f"""
CREATE TABLE {TABLE} (
    id bigserial PRIMARY KEY, name text NOT NULL, status text NOT NULL, message text NOT NULL,
    params jsonb NOT NULL, created_at timestamptz NOT NULL
)
"""
FILL: Final = f"""
INSERT INTO {TABLE} (name, status, message, params, created_at)
SELECT 'item', 'PENDING', '', '{{}}', now() FROM generate_series(1, 100)
"""

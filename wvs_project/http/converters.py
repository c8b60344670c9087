"""Path converters for our identifiers: what does not match is no such route, 404."""

from __future__ import annotations

from typing import Final

from django.urls import register_converter

from wvs_project.ids import SNAPSHOT_ID_PATTERN, TASK_ID_PATTERN, WSID_PATTERN


class _TextConverter:
    regex: str

    def to_python(self, value: str) -> str:
        """As it is."""
        return value

    def to_url(self, value: str) -> str:
        """As it is."""
        return value


class WsidConverter(_TextConverter):
    """`<wsid:…>`."""

    regex = WSID_PATTERN.strip("^$")


class SnapshotIdConverter(_TextConverter):
    """`<snapshot_id:…>`."""

    regex = SNAPSHOT_ID_PATTERN.strip("^$")


class TaskIdConverter(_TextConverter):
    """`<task_id:…>`."""

    regex = TASK_ID_PATTERN.strip("^$")


SCHEMAS: Final = {
    "wsid": {"type": "string", "pattern": WSID_PATTERN},
    "snapshot_id": {"type": "string", "pattern": SNAPSHOT_ID_PATTERN},
    "task_id": {"type": "string", "pattern": TASK_ID_PATTERN},
}
"""What OpenAPI says of them."""


def register() -> None:
    """Make them known to `path()`: once in a process."""
    for name, converter in (
        ("wsid", WsidConverter),
        ("snapshot_id", SnapshotIdConverter),
        ("task_id", TaskIdConverter),
    ):
        register_converter(converter, name)

"""Snapshots, and which of them is current, as JSON."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from tasks.api.serializers import TaskAcceptedOut
from wvs_project.http.serializers import Flag, PatternText, StrictSerializer, Text, Time
from wvs_project.ids import SNAPSHOT_ID_PATTERN, WSID_PATTERN

MAX_MESSAGE_LENGTH: Final = 4096


@extend_schema_serializer(
    examples=[OpenApiExample("A checkpoint", {"message": "before the refactoring"}, request_only=True)]
)
class CreateSnapshotIn(StrictSerializer):
    """A snapshot to be made."""

    message = Text(required=False, default="", allow_blank=True, max_length=MAX_MESSAGE_LENGTH)


_SOME_SNAPSHOT: Final = "snap-01931f5e-7c4a-7d6e-9b0a-3f2b8c1d4e5f"


@extend_schema_serializer(
    examples=[
        OpenApiExample("Go there", {"snapshot_id": _SOME_SNAPSHOT}, request_only=True),
        OpenApiExample("Once more, from scratch", {"snapshot_id": _SOME_SNAPSHOT, "fresh": True}, request_only=True),
    ]
)
class SetCurrentIn(StrictSerializer):
    """Where to switch to."""

    snapshot_id = PatternText(SNAPSHOT_ID_PATTERN)
    fresh = Flag(
        required=False, default=False, help_text="Clone a new tree even if this snapshot is current: drop what changed."
    )


class SnapshotAcceptedOut(TaskAcceptedOut):
    """The task that makes a snapshot, and the id that the snapshot will have."""

    snapshot_id = PatternText(SNAPSHOT_ID_PATTERN)


class SnapshotOut(serializers.Serializer[Any]):
    """A read-only copy of a workspace's tree at one moment."""

    snapshot_id = PatternText(SNAPSHOT_ID_PATTERN)
    wsid = PatternText(WSID_PATTERN, source="workspace_id")
    message = serializers.CharField(allow_blank=True)
    fs_path = serializers.CharField()
    entries = serializers.IntegerField(help_text="Of the tree, its root not counted.")
    bytes = serializers.IntegerField(help_text="Sum of the sizes of its regular files.")
    is_current = serializers.BooleanField(help_text="Whether the workspace was last switched to it.")
    created_at = Time()


class CurrentOut(serializers.Serializer[Any]):
    """What `current` points at."""

    wsid = PatternText(WSID_PATTERN)
    current_path = serializers.CharField(allow_null=True)
    current_snapshot_id = PatternText(SNAPSHOT_ID_PATTERN, allow_null=True)
    updated_at = Time()


class CurrentEnvelopeOut(serializers.Serializer[Any]):
    """Its envelope."""

    data = CurrentOut()  # type: ignore[assignment]  # a field, which DRF takes off the class

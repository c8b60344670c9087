"""Workspaces as JSON."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from workspaces.states import WorkspaceState
from wvs_project.http.pagination import ListQuery
from wvs_project.http.serializers import PatternText, StrictSerializer, Time
from wvs_project.ids import SNAPSHOT_ID_PATTERN, TASK_ID_PATTERN, WSID_PATTERN

OWNER_PATTERN: Final = r"^[^\x00-\x1f\x7f]{1,255}$"
"""Any text in one line."""


@extend_schema_serializer(
    examples=[OpenApiExample("For one agent", {"wsid": "agent-7", "owner": "team-a"}, request_only=True)]
)
class CreateWorkspaceIn(StrictSerializer):
    """A new workspace."""

    wsid = PatternText(WSID_PATTERN, help_text="Chosen by the caller; never used again for another workspace.")
    owner = PatternText(OWNER_PATTERN, help_text="Whom it belongs to: a name of yours, in one line.")


class ProvisioningOut(serializers.Serializer[Any]):
    """A workspace that was asked for, and the task that makes it."""

    wsid = PatternText(WSID_PATTERN, source="workspace.wsid")
    state = serializers.ChoiceField(
        WorkspaceState.choices,
        source="workspace.state",
        help_text="PROVISIONING at first; a replay says what it is now.",
    )
    init_task_id = PatternText(TASK_ID_PATTERN, source="accepted.task.task_id")


class WorkspaceOut(serializers.Serializer[Any]):
    """One agent's working directory."""

    wsid = PatternText(WSID_PATTERN)
    owner = serializers.CharField()
    state = serializers.ChoiceField(WorkspaceState.choices)
    root_path = serializers.CharField()
    current_path = serializers.CharField(allow_null=True, help_text="null until it was initialised.")
    current_snapshot_id = PatternText(
        SNAPSHOT_ID_PATTERN, allow_null=True, help_text="null until the first set_current."
    )
    created_at = Time()
    updated_at = Time()


class DisabledOut(serializers.Serializer[Any]):
    """A workspace after its soft delete."""

    wsid = PatternText(WSID_PATTERN)
    state = serializers.ChoiceField([WorkspaceState.DISABLED.value])
    updated_at = Time()


class WorkspaceListQuery(ListQuery):
    """Filters of GET /v1/workspaces."""

    state = serializers.ChoiceField(WorkspaceState.choices, required=False)
    owner = PatternText(OWNER_PATTERN, required=False)

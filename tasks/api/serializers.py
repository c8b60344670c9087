"""Tasks and audit events as JSON."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from executor.contract import FaultReason
from tasks.models import Op
from tasks.states import Status
from wvs_project.http.pagination import ListQuery
from wvs_project.http.serializers import PatternText, StrictSerializer, Time
from wvs_project.ids import SNAPSHOT_ID_PATTERN, TASK_ID_PATTERN, WSID_PATTERN

MAX_WAIT_SECONDS: Final = 60
ACTION_PATTERN: Final = r"^[a-z_]{1,40}\.[a-z_]{1,40}$"

_OBJECT: Final = {"type": "object", "additionalProperties": True}
_ERROR: Final = {
    "type": ["object", "null"],
    "description": "Why the last attempt failed, or how the task ended. null: nothing failed.",
    "properties": {
        "code": {"type": "string", "examples": ["WVS_EXECUTOR_ERROR", "WVS_EXECUTOR_TIMEOUT"]},
        "reason": {"type": "string", "description": "The finer cause.", "examples": [r.value for r in FaultReason]},
        "message": {"type": "string"},
        "attempt": {"type": "integer"},
    },
    "required": ["code", "reason", "message"],
}
_PROGRESS: Final = {
    "type": ["object", "null"],
    "properties": {
        "phase": {"type": "string"},
        "entries_done": {"type": "integer"},
        "entries_total": {"type": ["integer", "null"]},
        "frozen_since": {
            "type": "string",
            "format": "date-time",
            "description": "Of a RUNNING task, while the agent stands still: since when.",
        },
    },
}
_RESULT: Final = {
    "type": ["object", "null"],
    "additionalProperties": True,
    "description": "What a SUCCEEDED task did, by op.",
    "properties": {
        "snapshot_id": {"type": "string"},
        "current_path": {"type": "string"},
        "previous_path": {"type": "string"},
        "live_id": {"type": "string"},
        "entries": {"type": "integer"},
        "bytes": {"type": "integer"},
        "noop": {"type": "boolean", "description": "set_current: the snapshot was current already."},
        "clone_driver": {"type": "string"},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}


class TaskAcceptedOut(serializers.Serializer[Any]):
    """The task that does an accepted write, as it is now."""

    task_id = PatternText(TASK_ID_PATTERN)
    status = serializers.ChoiceField(Status.choices)


class TaskCanceledOut(TaskAcceptedOut):
    """The task after a cancel."""

    cancel_requested = serializers.BooleanField(help_text="true with a live status: a worker decides within 2 s.")


@extend_schema_field(_OBJECT)
class AnyObject(serializers.JSONField):
    """A JSON object."""


@extend_schema_field(_ERROR)
class TaskErrorField(serializers.JSONField):
    """`tasks.error`."""


@extend_schema_field(_PROGRESS)
class TaskProgressField(serializers.JSONField):
    """`tasks.progress`."""


@extend_schema_field(_RESULT)
class TaskResultField(serializers.JSONField):
    """`tasks.result`."""


class ActorOut(serializers.Serializer[Any]):
    """Who acted."""

    type = serializers.CharField(help_text="For example anonymous, user, worker, scheduler.")
    id = serializers.CharField()


class TaskOut(serializers.Serializer[Any]):
    """One accepted request to the executor."""

    task_id = PatternText(TASK_ID_PATTERN)
    wsid = PatternText(WSID_PATTERN, source="workspace_id")
    op = serializers.ChoiceField(Op.choices)
    status = serializers.ChoiceField(Status.choices)
    snapshot_id = PatternText(SNAPSHOT_ID_PATTERN, allow_null=True)
    attempt = serializers.IntegerField()
    max_attempts = serializers.IntegerField()
    outcome_unknown = serializers.BooleanField(help_text="A worker was lost; what it did is found out before a retry.")
    cancel_requested = serializers.BooleanField()
    created_at = Time()
    started_at = Time(allow_null=True, help_text="Of the last attempt.")
    ended_at = Time(allow_null=True)
    next_run_at = Time(help_text="Not before this, while it waits.")
    timeout_seconds = serializers.IntegerField()
    params = AnyObject()
    progress = TaskProgressField()
    result = TaskResultField()
    error = TaskErrorField()
    request_id = serializers.CharField()
    actor = ActorOut()


class AuditPayloadOut(serializers.Serializer[Any]):
    """What changed."""

    before = AnyObject(allow_null=True)
    after = AnyObject(allow_null=True)
    error = AnyObject(allow_null=True)


class AuditEventOut(serializers.Serializer[Any]):
    """Who did what, when."""

    event_id = serializers.IntegerField()
    ts = Time()
    wsid = serializers.CharField()
    actor = ActorOut()
    action = serializers.CharField()
    request_id = serializers.CharField()
    task_id = serializers.CharField(allow_null=True)
    payload = AuditPayloadOut()


class TaskListQuery(ListQuery):
    """Filters of GET /v1/tasks."""

    wsid = PatternText(WSID_PATTERN, required=False)
    status = serializers.ChoiceField(Status.choices, required=False)
    op = serializers.ChoiceField(Op.choices, required=False)


class AuditListQuery(ListQuery):
    """Filters of GET /v1/audit."""

    wsid = PatternText(WSID_PATTERN, required=False)
    task_id = PatternText(TASK_ID_PATTERN, required=False)
    action = PatternText(ACTION_PATTERN, required=False, help_text="For example workspace.set_current.")


@extend_schema_field({"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "default": 0})
class WaitSeconds(PatternText):
    """Seconds, with up to three decimals."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(r"^[0-9]{1,2}(\.[0-9]{1,3})?$", **kwargs)
        del self._spectacular_annotation

    def to_internal_value(self, data: Any) -> Any:
        """Raises ValidationError beyond the limit."""
        seconds = float(super().to_internal_value(data))
        if seconds > MAX_WAIT_SECONDS:
            raise ValidationError(f"must be at most {MAX_WAIT_SECONDS}")
        return seconds

    def to_representation(self, value: Any) -> Any:
        """Of the default, for OpenAPI."""
        return value


class TaskQuery(StrictSerializer):
    """The query of GET /v1/tasks/{task_id}."""

    wait = WaitSeconds(
        default=0.0,
        help_text="Answer when the task is finished, or after so many seconds with the unfinished task; earlier, with "
        "Retry-After, when too many wait already.",
    )

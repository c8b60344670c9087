"""The states of a workspace and their transitions (SPEC §5): pure."""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices


class WorkspaceState(TextChoices):
    """Where a workspace stands."""

    PROVISIONING = "PROVISIONING"
    ACTIVE = "ACTIVE"
    INIT_FAILED = "INIT_FAILED"
    DISABLED = "DISABLED"


TRANSITIONS: Final = (
    (WorkspaceState.PROVISIONING, WorkspaceState.ACTIVE),
    (WorkspaceState.PROVISIONING, WorkspaceState.INIT_FAILED),
    (WorkspaceState.INIT_FAILED, WorkspaceState.PROVISIONING),
    (WorkspaceState.PROVISIONING, WorkspaceState.DISABLED),
    (WorkspaceState.ACTIVE, WorkspaceState.DISABLED),
    (WorkspaceState.INIT_FAILED, WorkspaceState.DISABLED),
    (WorkspaceState.DISABLED, WorkspaceState.PROVISIONING),
    (WorkspaceState.DISABLED, WorkspaceState.ACTIVE),
    (WorkspaceState.DISABLED, WorkspaceState.INIT_FAILED),
)
"""Out of DISABLED only to state_before_disable (H11): a trigger of its own holds that."""

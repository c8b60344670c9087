"""Workspaces (SPEC §5)."""

from __future__ import annotations

from typing import Any, ClassVar

import pgtrigger
from django.db import models
from django.db.models import Case, Q, Value, When

from workspaces import metrics
from workspaces.querysets import OrderQuerySet, WorkspaceQuerySet
from workspaces.states import TRANSITIONS, WorkspaceState
from wvs_project.db import ClockTimestamp, CompositeForeignKey
from wvs_project.ids import WSID_PATTERN

_DISABLED = Q(state=WorkspaceState.DISABLED.value)


class Workspace(models.Model):
    """One agent's working directory. Its row is STATE(wsid): whoever decides something about it locks it first."""

    wsid = models.TextField(primary_key=True)
    root_path = models.TextField(unique=True)
    owner = models.TextField()
    state = models.TextField(choices=WorkspaceState.choices, default=WorkspaceState.PROVISIONING)
    state_before_disable = models.TextField(null=True, choices=WorkspaceState.choices)
    current_snapshot_id = models.TextField(null=True)
    current_path = models.TextField(null=True)
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    updated_at = models.DateTimeField(db_default=ClockTimestamp())

    current_is_live = models.GeneratedField(
        expression=Case(When(current_snapshot_id__isnull=False, then=Value(True))),
        output_field=models.BooleanField(null=True),
        db_persist=True,
    )
    is_enabled = models.GeneratedField(
        expression=Case(When(_DISABLED, then=Value(False)), default=Value(True)),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    objects: ClassVar[WorkspaceQuerySet] = WorkspaceQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "workspaces"
        constraints = [
            models.CheckConstraint(name="workspaces_id_pattern", condition=Q(wsid__regex=WSID_PATTERN)),
            models.CheckConstraint(name="workspaces_state_known", condition=Q(state__in=WorkspaceState.values)),
            models.CheckConstraint(
                name="workspaces_before_disable_iff_disabled",
                condition=(_DISABLED & Q(state_before_disable__isnull=False))
                | (~_DISABLED & Q(state_before_disable__isnull=True)),
            ),
            models.CheckConstraint(
                name="workspaces_before_disable_known",
                condition=Q(state_before_disable__isnull=True)
                | Q(state_before_disable__in=[s.value for s in WorkspaceState if s != WorkspaceState.DISABLED]),
            ),
            models.CheckConstraint(
                name="workspaces_active_has_path",
                condition=~Q(state=WorkspaceState.ACTIVE.value) | Q(current_path__isnull=False),
            ),
            models.CheckConstraint(
                name="workspaces_pointer_has_path",  # P1-01: never a pointer without its path
                condition=Q(current_snapshot_id__isnull=True) | Q(current_path__isnull=False),
            ),
            # The target of tasks_live_in_enabled_workspace.
            models.UniqueConstraint(name="workspaces_enabled_key", fields=["wsid", "is_enabled"]),
            # The current snapshot is of this workspace and not dropped.
            CompositeForeignKey(
                name="workspaces_current_snapshot_is_live",
                columns=["wsid", "current_snapshot_id", "current_is_live"],
                to_table="snapshots",
                to_columns=["wsid", "snapshot_id", "is_live"],
            ),
        ]
        indexes = [
            # GET /v1/workspaces, plain and by state and by owner.
            models.Index(name="workspaces_by_created", fields=["-created_at", "-wsid"]),
            models.Index(name="workspaces_by_state", fields=["state", "-created_at", "-wsid"]),
            models.Index(name="workspaces_by_owner", fields=["owner", "-created_at", "-wsid"]),
        ]
        permissions = [("operate_workspace", "Can initialise again, disable, enable, sweep and detach the agent")]
        triggers = [
            pgtrigger.FSM(
                name="workspaces_transitions",
                field="state",
                transitions=[(old.value, new.value) for old, new in TRANSITIONS],
            ),
            pgtrigger.Trigger(
                name="workspaces_enable_to_before",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                condition=pgtrigger.Q(old__state="DISABLED") & ~pgtrigger.Q(new__state="DISABLED"),
                func="""
                    IF NEW.state IS DISTINCT FROM OLD.state_before_disable THEN
                        RAISE EXCEPTION 'a disabled workspace goes back to %, not to %',
                            OLD.state_before_disable, NEW.state USING ERRCODE = 'check_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.wsid} {self.state}"

    @staticmethod
    def root_for(wsid: str) -> str:
        """The workspace's directory as agents see it, wherever the volume is mounted."""
        return f"/ws/{wsid}"

    def live_path(self, live_id: str) -> str:
        """The path of one of its live trees."""
        return f"{self.root_path}/live/{live_id}"

    def snapshot_path(self, snapshot_id: str) -> str:
        """The path of one of its snapshots."""
        return f"{self.root_path}/snapshots/{snapshot_id}"

    @property
    def current_live_id(self) -> str | None:
        """The live tree that the row says `current` points at."""
        return self.current_path.rpartition("/")[2] if self.current_path else None

    def _write(self, **fields: Any) -> None:
        """Write columns of a row that the caller holds STATE on."""
        Workspace.objects.filter(pk=self.pk).update(**fields, updated_at=ClockTimestamp())
        if "state" in fields:
            metrics.moved_on_commit(self.state, fields["state"])
        for name, value in fields.items():
            setattr(self, name, value)

    def activate(self, path: str) -> None:
        """PROVISIONING → ACTIVE, its first tree at `path`. The caller holds STATE."""
        self._write(state=WorkspaceState.ACTIVE, current_path=path)

    def fail_init(self) -> None:
        """PROVISIONING → INIT_FAILED. The caller holds STATE."""
        self._write(state=WorkspaceState.INIT_FAILED)

    def provision_again(self) -> None:
        """INIT_FAILED → PROVISIONING. The caller holds STATE."""
        self._write(state=WorkspaceState.PROVISIONING)

    def disable(self) -> None:
        """Any state → DISABLED, remembering it. The caller holds STATE."""
        self._write(state_before_disable=self.state, state=WorkspaceState.DISABLED)
        self.refresh_from_db(fields=["updated_at"])

    def enable(self) -> None:
        """DISABLED → the state before (H11). The caller holds STATE."""
        self._write(state=self.state_before_disable, state_before_disable=None)
        self.refresh_from_db(fields=["updated_at"])

    def forget_trees(self) -> None:
        """A DISABLED workspace's trees are purged: enabled again, it must be initialised anew. The caller holds STATE.

        `updated_at` goes on telling since when it is disabled, so that a purge that was cut short can be repeated.
        """
        Workspace.objects.filter(pk=self.pk, state=WorkspaceState.DISABLED).update(
            current_snapshot_id=None, current_path=None, state_before_disable=WorkspaceState.INIT_FAILED
        )

    def point_at(self, *, snapshot_id: str | None, path: str) -> None:
        """Pointer and path together (P1-01). The caller holds STATE.

        None: the snapshot that the tree came from is unknown, or dropped.
        """
        self._write(current_snapshot_id=snapshot_id, current_path=path)


class OrderKind(models.TextChoices):
    """What an operator can ask of the scheduler, which reaches the volume where the API may not (SPEC §1)."""

    SWEEP = "sweep"
    DETACH_AGENT = "detach_agent"


class Order(models.Model):
    """An operator's wish about one workspace, done by the leading scheduler within seconds. No task waits for it.

    It stays as history as long as a finished task does.
    """

    order_id = models.BigAutoField(primary_key=True)
    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, db_column="wsid", db_index=False, related_name="orders"
    )
    kind = models.TextField(choices=OrderKind.choices)
    actor = models.JSONField()
    request_id = models.TextField(default="", blank=True)
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    ended_at = models.DateTimeField(null=True)
    outcome = models.JSONField(null=True)
    error = models.TextField(default="", blank=True)

    objects: ClassVar[OrderQuerySet] = OrderQuerySet.as_manager()  # type: ignore[assignment]

    workspace_id: str

    class Meta:
        db_table = "orders"
        constraints = [
            models.CheckConstraint(name="orders_kind_known", condition=Q(kind__in=OrderKind.values)),
            models.CheckConstraint(
                name="orders_ended_iff_said",
                condition=Q(ended_at__isnull=True, outcome__isnull=True, error="")
                | Q(ended_at__isnull=False, outcome__isnull=False, error="")
                | (Q(ended_at__isnull=False, outcome__isnull=True) & ~Q(error="")),
            ),
            # Asked twice, it is done once. Also what the scheduler looks for.
            models.UniqueConstraint(
                name="orders_one_open_of_a_kind", fields=["workspace", "kind"], condition=Q(ended_at__isnull=True)
            ),
        ]
        indexes = [
            # The admin's list, and a workspace's own.
            models.Index(name="orders_by_created", fields=["-created_at", "-order_id"]),
            models.Index(name="orders_by_workspace", fields=["workspace", "-created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.workspace_id}"

    def end(self, *, outcome: dict[str, Any] | None = None, error: str = "") -> None:
        """It is done, or cannot be. The first to say so is believed."""
        Order.objects.open().filter(pk=self.pk).update(ended_at=ClockTimestamp(), outcome=outcome, error=error)

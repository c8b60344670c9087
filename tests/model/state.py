"""What the model remembers: pure."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_ATTEMPTS = 5
LIVE = ("PENDING", "RUNNING", "FAILED")


@dataclass
class ModelTask:
    """One accepted request."""

    task_id: str
    op: str
    key: str
    said: str
    """What the request said; the same key with another saying is a mismatch."""
    snapshot_id: str | None = None
    fresh: bool = False
    status: str = "PENDING"
    attempt: int = 0
    unknown: bool = False
    cancel_requested: bool = False
    due: bool = True
    published: bool = False
    """On the disk, whether or not the row says so."""
    claims: int = 0
    """How often it got a fence."""
    reason: str | None = None
    """`error.reason`."""

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def irrevocable(self) -> bool:
        return self.op == "snapshot_drop"


@dataclass
class ModelWorkspace:
    """One workspace; `tasks` in the order in which they were accepted, which is the order in which they run."""

    wsid: str
    state: str = "PROVISIONING"
    before: str | None = None
    current: str | None = None
    live_id: str | None = None
    snapshots: dict[str, str | None] = field(default_factory=dict)
    """Those that have a row; by which task each was dropped."""
    tasks: list[ModelTask] = field(default_factory=list)

    @property
    def live(self) -> list[ModelTask]:
        return [task for task in self.tasks if task.is_live]

    @property
    def head(self) -> ModelTask | None:
        return next(iter(self.live), None)

    @property
    def has_due_head(self) -> bool:
        """Due, and nobody runs it."""
        return self.head is not None and self.head.status != "RUNNING" and self.head.due

    def keeps(self, snapshot_id: str) -> bool:
        """It is of this workspace and not dropped."""
        return snapshot_id in self.snapshots and self.snapshots[snapshot_id] is None

    def find(self, op: str, key: str) -> ModelTask | None:
        """The task that a key made."""
        return next((task for task in self.tasks if (task.op, task.key) == (op, key)), None)

"""Who acts in the scenes: two workers, a scheduler, and RUN held by a stranger where a scene begins so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from snapshots.models import Snapshot
from tasks.engine import Engine, Run
from tasks.locks import GuardPool
from tasks.models import Task
from tasks.scheduler import Scheduler
from tasks.supervisor import Supervisor
from tests.engine.world import workspace_with_snapshot
from tests.fakes import FakeExecutor
from tests.interleavings.stage import Bells, set_stage
from workspaces.models import Workspace
from wvs_project.db import direct_conninfo
from wvs_project.errors import ErrorCode, WvsError

BACKOFF = 60.0
"""Seconds: a retry does not come by itself within a scene."""

Result = object
"""What a service returned, or its refusal."""


class World:
    """Made once for a test; each scene has rows of its own."""

    def __init__(self, bells: Bells) -> None:
        self.bells = bells
        self.fake = FakeExecutor()
        self._pools: list[GuardPool] = []
        self.worker, self.other_worker = self._engine(), self._engine()
        self.guards = self._pool()

    def scheduler(self) -> Scheduler:
        """One that has rung for nobody yet."""
        return Scheduler(guards=self.guards, backoff_base=BACKOFF)

    def claim(self, worker: Engine, wsid: str) -> Run | None:
        """As a worker claims the head, RUN held meanwhile; what it is to execute, if anything."""
        guard = self.guards.acquire(wsid)
        if guard is None:
            return None
        try:
            return worker._claim(wsid, time.monotonic())
        finally:
            self.guards.release(guard)

    def close(self) -> None:
        """Give back all connections."""
        for engine in (self.worker, self.other_worker):
            engine.close()
        for pool in self._pools:
            pool.close()

    def _pool(self) -> GuardPool:
        self._pools.append(GuardPool(direct_conninfo(application_name="wvs-guard")))
        return self._pools[-1]

    def _engine(self) -> Engine:
        return Engine(
            executor=self.fake,
            guards=self._pool(),
            supervisor=Supervisor(direct_conninfo(application_name="wvs-supervisor")),
            backoff_base=BACKOFF,
        )


@contextmanager
def on_stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world whose actors' commits, locks and bells are steps."""
    world = World(set_stage(monkeypatch))
    try:
        yield world
    finally:
        world.close()


def staged() -> tuple[Workspace, Snapshot]:
    """Fresh rows for a scene, and no task of the one before: the scheduler looks at all there are."""
    Task.objects.all().delete()
    return workspace_with_snapshot()


def code_of(result: Result) -> ErrorCode | None:
    """Why a service refused, or None if it did not."""
    return result.code if isinstance(result, WvsError) else None

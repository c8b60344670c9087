"""A workspace on a real disk, its rows, and a client of the services (SPEC §6, §7)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from django.db import connection

from snapshots import services as snapshots
from snapshots.models import Snapshot
from tasks.audit import ANONYMOUS
from tasks.engine import Engine
from tasks.models import Op, Task
from tasks.states import Status
from tests.factories import new_token
from tests.servers import environment_of_servers
from tests.waiting import eventually
from workspaces import services as workspaces
from workspaces.models import Workspace
from wvs_project.db import ClockTimestamp

CRASH_LIMIT = 60.0


def _nobody_holds_run() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE l.locktype = 'advisory' AND d.datname = current_database()"
        )
        return bool(cursor.fetchone()[0] == 0)


@dataclass
class World:
    """One workspace below `mount`, and the engine that does its tasks when nobody dies."""

    mount: Path
    engine: Engine
    wsid: str = field(default_factory=lambda: f"e2e-{uuid4().hex[:12]}")

    @property
    def root(self) -> Path:
        return self.mount / self.wsid

    @property
    def tree(self) -> Path:
        """What the agent sees, links resolved."""
        return self.root / "current"

    def row(self) -> Workspace:
        return Workspace.objects.get(pk=self.wsid)

    def submit(self, op: str) -> Task:
        """A new task of that kind; what it needs is made first."""
        if op == Op.INIT_WORKSPACE:
            made = workspaces.create_workspace(wsid=self.wsid, owner="me", token=new_token(), actor=ANONYMOUS)
            return made.accepted.task
        self.done(self.submit(Op.INIT_WORKSPACE))
        (self.tree / "work").mkdir()
        (self.tree / "work" / "file").write_text("the agent's")
        if op == Op.SNAPSHOT_CREATE:
            return self._snapshot()
        snapshot = self._snapshot()
        self.done(snapshot)
        snapshot_id = str(snapshot.params["snapshot_id"])
        (self.tree / "work" / "file").write_text("wrecked")
        if op == Op.SET_CURRENT:
            return snapshots.set_current(
                wsid=self.wsid, snapshot_id=snapshot_id, fresh=False, token=new_token(), actor=ANONYMOUS
            ).task
        return snapshots.drop_snapshot(wsid=self.wsid, snapshot_id=snapshot_id, token=new_token(), actor=ANONYMOUS).task

    def _snapshot(self) -> Task:
        return snapshots.create_snapshot(wsid=self.wsid, message="m", token=new_token(), actor=ANONYMOUS).task

    def done(self, task: Task) -> Task:
        """Serve until the task is finished; its waiting for a retry is cut short."""
        for _ in range(10):
            Task.objects.of_workspace(self.wsid).filter(status=Status.FAILED).update(next_run_at=ClockTimestamp())
            self.engine.serve(self.wsid)
            row = Task.objects.get(pk=task.pk)
            if row.state.is_finished:
                return row
        raise AssertionError(f"{row} does not end: {row.error}")

    def crash_at(self, failpoint: str) -> None:
        """Serve in a process of its own that is killed there."""
        ended = subprocess.run(
            [sys.executable, "-m", "tests.e2e.crashing_worker", self.wsid],
            check=False,
            capture_output=True,
            text=True,
            timeout=CRASH_LIMIT,
            env={**os.environ, **self._environment(failpoint)},
            cwd=Path(__file__).parents[2],
        )
        assert ended.returncode == -signal.SIGKILL, f"{failpoint} was not reached: {ended.stdout}{ended.stderr}"
        eventually(_nobody_holds_run, "PostgreSQL to notice the death")

    def _environment(self, failpoint: str) -> Mapping[str, str]:
        own = connection.settings_dict  # of the test database, which the servers' DSN does not name
        dsn = f"postgresql://{own['USER']}:{own['PASSWORD']}@{own['HOST']}:{own['PORT']}/{own['NAME']}"
        return {
            **environment_of_servers(),
            "DJANGO_SETTINGS_MODULE": "wvs_project.settings",
            "WVS_DB_DSN": dsn,
            "EXECUTOR_MOUNT_PATH": str(self.mount),
            "WVS_FAILPOINTS": f"{failpoint}=kill",
        }

    def assert_whole(self, task: Task) -> None:
        """One row, one tree, nothing half-made: what the disk holds is what the rows say."""
        row = self.row()
        snapshots_on_disk = {path.name for path in (self.root / "snapshots").iterdir()}
        kept = set(Snapshot.objects.of_workspace(self.wsid).kept().values_list("pk", flat=True))
        assert snapshots_on_disk == kept
        assert row.current_path == f"/ws/{self.wsid}/{(self.root / 'current').readlink()}"
        assert not list((self.root / ".wvs" / "staging").iterdir())
        expected_trees = {"initial"} if task.op != Op.SET_CURRENT else {"initial", row.current_live_id}
        assert {path.name for path in (self.root / "live").iterdir()} == expected_trees
        for snapshot_id in kept:
            assert (self.root / "snapshots" / snapshot_id / "tree/work/file").read_text() == "the agent's"
        if task.op == Op.SET_CURRENT:
            assert (self.tree / "work" / "file").read_text() == "the agent's"
            assert row.current_snapshot_id == task.params["snapshot_id"]

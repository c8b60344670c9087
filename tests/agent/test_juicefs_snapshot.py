"""Whole operations on real JuiceFS with an agent that obeys, lies or hangs, on the executor's mount and on another."""

from __future__ import annotations

import itertools
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from executor import failpoints, survey, tree
from executor.config import ExecutorConfig
from executor.contract import ExecuteTask, ExecutorFault, FaultReason, OperationName, Outcome, StopSignal, live_id_for
from executor.layout import Layout, WorkspaceLayout, snapshot_tree
from executor.local import LocalExecutor
from tests.agent.scene import Views, control_of, spoken
from tests.servers import JuiceFSVolume
from wvs_agent import QuiesceWatcher
from wvs_agent.protocol import AgentLock, ControlState
from wvs_project.stack.juicefs import juicefs_program

pytestmark = pytest.mark.fuse
AGENT = "tests.agent.agent_process"


def config_for(mount: Path, quiesce_timeout: float = 20.0) -> ExecutorConfig:
    return ExecutorConfig(
        mount_path=mount,
        task_timeout=60.0,
        quiesce_timeout=quiesce_timeout,
        freeze_lease=10.0,
        freeze_max=60.0,
        agent_uid=os.geteuid(),
        agent_gid=os.getegid(),
        clone_driver="juicefs",
        clone_threads=4,
        verify_quiet="on",
        juicefs=juicefs_program(),
    )


@dataclass
class Stage:
    """A workspace that init_workspace made, and who works on it."""

    mount: Path
    views: Views
    stop: StopSignal
    fences: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    executors: dict[float, LocalExecutor] = field(default_factory=dict)

    @property
    def ws(self) -> WorkspaceLayout:
        return self.views.ws

    def run(self, op: OperationName, quiesce_timeout: float = 20.0, **fields: str) -> Outcome:
        task = ExecuteTask(
            task_id=fields.pop("task_id", f"task-{uuid.uuid4()}"),
            wsid=self.ws.wsid,
            op=op,
            fence=next(self.fences),
            timeout_seconds=60.0,
            snapshot_id=fields.pop("snapshot_id", None),
            source_live_id=fields.pop("source_live_id", None),
        )
        if quiesce_timeout not in self.executors:
            self.executors[quiesce_timeout] = LocalExecutor(config_for(self.mount, quiesce_timeout))
        return self.executors[quiesce_timeout].execute(task, stop=self.stop, progress=lambda _: None)

    def snapshot(self, quiesce_timeout: float = 20.0) -> tuple[Path, Outcome]:
        """Take one of the initial tree; its tree and its outcome."""
        name = f"snap-{uuid.uuid4()}"
        outcome = self.run(OperationName.SNAPSHOT_CREATE, quiesce_timeout, snapshot_id=name, source_live_id="initial")
        return snapshot_tree(self.ws.snapshot(name)), outcome

    def nothing_is_left(self) -> bool:
        """No snapshot, nothing half-made, and the agent was told to go on."""
        made = [*self.ws.snapshots_dir.iterdir(), *self.ws.staging_dir.iterdir()]
        return not made and control_of(self.ws).state is ControlState.REQUEST_RESUME


@pytest.fixture(params=["one mount", "two mounts"])
def stage(request: pytest.FixtureRequest, juicefs_volume: JuiceFSVolume, stop: StopSignal) -> Iterator[Stage]:
    wsid = f"agent-{uuid.uuid4().hex[:12]}"
    agents = juicefs_volume.mount if request.param == "one mount" else request.getfixturevalue("agent_mount")
    made = Stage(juicefs_volume.mount, Views(Layout(juicefs_volume.mount).workspace(wsid), agents / wsid), stop)
    made.run(OperationName.INIT_WORKSPACE)
    yield made
    failpoints.disarm_all()
    subprocess.run([juicefs_program(), "rmr", "--skip-trash", made.ws.root], check=True, capture_output=True)


def refused(stage: Stage, quiesce_timeout: float = 20.0) -> FaultReason:
    with pytest.raises(ExecutorFault) as caught:
        stage.snapshot(quiesce_timeout)
    return caught.value.reason


@contextmanager
def attached(stage: Stage, on_freeze: Callable[[], None] = lambda: None) -> Iterator[QuiesceWatcher]:
    with QuiesceWatcher(stage.views.agent_root, on_freeze, lambda _: None) as watcher:
        yield watcher


@pytest.mark.rule("RK-02")
@pytest.mark.rule("RK-03")
def test_an_agent_that_says_frozen_and_writes_on_publishes_nothing(stage: Stage) -> None:
    with spoken(AGENT, stage.views.agent_root, "--lie") as agent:
        agent.hear("attached")
        assert refused(stage) is FaultReason.QUIESCE_VIOLATED
        assert stage.nothing_is_left()
        agent.hear("resumed")


def write_more(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def write_unseen(path: Path) -> None:
    """Other bytes, and neither size nor mtime tells."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def replace_unseen(path: Path) -> None:
    """Another file of the same size, mode and mtime in its place."""
    before, other = path.stat(), path.with_name("other")
    other.write_bytes(b"Y" * before.st_size)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


LIES = {
    "append": write_more,
    "same size and mtime": write_unseen,
    "swapped for a twin": replace_unseen,
    "new file": lambda path: path.with_name("new").touch(),
    "deleted": Path.unlink,
    "mode": lambda path: path.chmod(0o600),
}


@pytest.mark.rule("RK-02")
@pytest.mark.rule("RK-03")
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_one_write_during_the_clone_publishes_nothing(stage: Stage, lie: Callable[[Path], object]) -> None:
    current = stage.views.agent_root / "current"
    for name in ("first", "file", "last"):
        (current / name).write_bytes(b"quiet" * 1000)
    failpoints.arm("create.cloned", lambda: void(lie(current / "file")))
    with attached(stage):
        assert refused(stage) is FaultReason.QUIESCE_VIOLATED
        assert stage.nothing_is_left()
        failpoints.disarm_all()
        _, outcome = stage.snapshot()
    assert outcome.agent is not None
    assert outcome.agent.attached


def void(_: object) -> None: ...


@pytest.mark.rule("H1")
def test_a_file_that_is_open_and_never_fsynced_is_in_the_snapshot_up_to_the_freeze(stage: Stage) -> None:
    fd = os.open(stage.views.agent_root / "current" / "open", os.O_RDWR | os.O_CREAT)
    written = b""

    def last_words() -> None:
        nonlocal written
        for _ in range(100):
            piece = os.urandom(1009)
            written += piece
            os.write(fd, piece)

    try:
        with attached(stage, last_words):
            for _ in range(3):
                taken, outcome = stage.snapshot()
                assert (taken / "open").read_bytes() == written
                assert outcome.bytes == len(written)
    finally:
        os.close(fd)


@pytest.mark.rule("H1")
def test_the_log_of_an_agent_in_another_process_is_whole_in_every_snapshot(stage: Stage) -> None:
    with spoken(AGENT, stage.views.agent_root) as agent:
        agent.hear("attached")
        for _ in range(3):
            taken, outcome = stage.snapshot()
            frozen = int(agent.hear("frozen").split()[1])
            agent.hear("resumed")
            assert (taken / "log").read_bytes() == b"x" * frozen
            assert outcome.agent is not None
            assert outcome.agent.resumed is True


LONG_NAMES = [f"f{number:03}" + "n" * 230 for number in range(300)]
"""More than the kernel lists in one go: what comes with the first batch is refreshed in any case."""


@pytest.mark.rule("H2")
def test_what_was_written_right_before_the_freeze_is_in_the_snapshot_and_in_its_manifest(stage: Stage) -> None:
    current = stage.views.agent_root / "current"
    sizes = dict.fromkeys(LONG_NAMES, 0)
    for name in LONG_NAMES:
        (current / name).touch()
    rounds = itertools.count(1)

    def last_words() -> None:
        look(stage.ws.live("initial"))  # now the executor's mount has the old ones in its caches
        size = next(rounds)
        for name in (LONG_NAMES[-size], f"new{size}"):
            (current / name).write_bytes(b"n" * size)
            sizes[name] = size

    with attached(stage, last_words):
        for _ in range(3):
            taken, outcome = stage.snapshot()
            assert {entry.name: entry.stat().st_size for entry in os.scandir(taken)} == sizes
            assert (outcome.entries, outcome.bytes) == (len(sizes), sum(sizes.values()))


@pytest.mark.rule("H2")
def test_a_scan_sees_what_another_mount_wrote_however_long_its_own_mount_caches(
    juicefs_volume: JuiceFSVolume, juicefs_dir: Path
) -> None:
    for name in LONG_NAMES:
        (juicefs_dir / name).touch()
    with juicefs_volume.second_mount(attr_cache="60", entry_cache="60", dir_entry_cache="60") as slow:
        seen = slow / juicefs_dir.relative_to(juicefs_volume.mount)
        for size in (1, 2):
            look(seen)
            for name in LONG_NAMES[::10]:
                (juicefs_dir / name).write_bytes(b"n" * size)
            (juicefs_dir / f"new{size}").touch()
            assert look(seen) == look(juicefs_dir)


def look(directory: Path) -> dict[bytes, tuple[int, int, int]]:
    """What the executor's scan of one directory sees."""
    with tree.open_root(directory) as fd:
        entries = survey.look(fd, xattrs=False).directories[b""]
    return {name: (seen.ino, seen.size, seen.ctime_ns) for name, seen in entries.items()}


@pytest.mark.rule("H6")
def test_after_set_current_the_agent_sees_the_new_tree(stage: Stage) -> None:
    current = stage.views.agent_root / "current"
    (current / "which").write_bytes(b"kept")
    seen: list[tuple[str, bytes]] = []

    def reopen(target: str) -> None:
        seen.append((target, (current / "which").read_bytes()))

    name = f"snap-{uuid.uuid4()}"
    with QuiesceWatcher(stage.views.agent_root, lambda: void((current / "which").read_bytes()), reopen):
        stage.run(OperationName.SNAPSHOT_CREATE, snapshot_id=name, source_live_id="initial")
        seen.clear()
        for _ in range(3):
            (current / "which").write_bytes(b"wrecked")
            task_id = f"task-{uuid.uuid4()}"
            outcome = stage.run(OperationName.SET_CURRENT, task_id=task_id, snapshot_id=name)
            target = f"live/{live_id_for(task_id)}"
            assert seen.pop() == (target, b"kept")
            assert outcome.agent is not None
            assert (outcome.agent.resumed, outcome.agent.current_seen) == (True, target)


def test_a_hung_agent_ends_attempt_after_attempt_in_a_time_out_and_never_in_a_clone(stage: Stage) -> None:
    def cloned() -> None:
        pytest.fail("a clone was made")

    failpoints.arm("create.cloned", cloned)
    with spoken(AGENT, stage.views.agent_root, "--hang") as agent:
        agent.hear("attached")
        for _ in range(3):
            assert refused(stage, quiesce_timeout=0.5) is FaultReason.QUIESCE_TIMEOUT
            assert stage.nothing_is_left()
        agent.hear("freezing")
        agent.kill()
    failpoints.disarm_all()
    _, outcome = stage.snapshot()
    assert outcome.agent is not None
    assert not outcome.agent.attached


@pytest.mark.rule("H4")
def test_nobody_can_attach_while_a_tree_without_an_agent_is_cloned(stage: Stage) -> None:
    newcomer = AgentLock(stage.views.agent_root / ".wvs" / "agent.lock")
    tried: list[bool] = []
    failpoints.arm("create.frozen", lambda: tried.append(newcomer.try_acquire()))
    failpoints.arm("create.cloned", lambda: tried.append(newcomer.try_acquire()))
    stage.snapshot()
    assert tried == [False, False]
    assert newcomer.try_acquire()
    newcomer.close()

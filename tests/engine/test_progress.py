"""How far a running task is: in its row, now and then, and only as long as the run is the row's (SPEC §6, §7)."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import psycopg
import pytest
from django.db import connection, transaction

from executor.contract import ExecuteTask, Outcome, Progress, ProgressSink, StopSignal
from tasks.engine import Engine
from tasks.models import Op, Task
from tasks.progress import PAUSE_SECONDS, ProgressWriter
from tasks.states import Status
from tests.engine.world import Held, fresh, status_of
from tests.factories import make_task, make_workspace
from tests.fakes import FakeExecutor
from tests.waiting import LIMIT, InThread, eventually
from wvs_project.db import direct_conninfo, read_clock

pytestmark = pytest.mark.rule("SPEC-7-progress")


@pytest.fixture
def telling(fake: FakeExecutor, monkeypatch: pytest.MonkeyPatch) -> Callable[[], ProgressSink]:
    """The sink of the run that is going on."""
    sinks: list[ProgressSink] = []
    execute = fake.execute

    def listen(request: ExecuteTask, *, stop: StopSignal, progress: ProgressSink) -> Outcome:
        sinks.append(progress)
        return execute(request, stop=stop, progress=progress)

    monkeypatch.setattr(fake, "execute", listen)
    return lambda: sinks[-1]


def a_task() -> Task:
    return make_task(make_workspace(), Op.SNAPSHOT_CREATE)


def progress_of(task: Task) -> object:
    return fresh(task).progress


def test_what_a_run_tells_is_in_its_row_and_in_the_api(
    engine: Engine, fake: FakeExecutor, telling: Callable[[], ProgressSink], client: object
) -> None:
    task = a_task()
    held = Held(engine, fake, task)
    said = {"phase": "clone", "entries_done": 3, "entries_total": 7}

    telling()(Progress("clone", 3, 7))

    assert eventually(lambda: progress_of(task)) == said
    assert client.get(f"/v1/tasks/{task.task_id}").json()["progress"] == said  # type: ignore[attr-defined]
    held.end()
    assert status_of(task) is Status.SUCCEEDED
    assert progress_of(task) == said


def test_what_came_last_is_written_and_at_most_twice_a_second(
    engine: Engine, fake: FakeExecutor, telling: Callable[[], ProgressSink]
) -> None:
    task = a_task()
    held = Held(engine, fake, task)
    seen: list[tuple[float, object]] = []
    begun, done = time.monotonic(), 0

    while len(seen) < 4:
        done += 1
        telling()(Progress("clone", done))
        now = progress_of(task)
        if now is not None and (not seen or seen[-1][1] != now):
            seen.append((time.monotonic(), now))
        assert time.monotonic() - begun < LIMIT

    held.end()
    assert seen[-1][0] - begun >= 3 * PAUSE_SECONDS


def test_a_sink_does_not_wait_for_a_row_that_is_locked(
    engine: Engine, fake: FakeExecutor, telling: Callable[[], ProgressSink]
) -> None:
    task = a_task()
    held = Held(engine, fake, task)
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=task.pk)
        telling()(Progress("clone", 1))
        eventually(writers_that_wait, "the writer waits for the row")

        told = InThread(lambda: telling()(Progress("clone", 2)))

        told.result()
    eventually(lambda: progress_of(task) == {"phase": "clone", "entries_done": 2, "entries_total": None})
    held.end()


def test_since_when_an_agent_stands_still_is_told_as_long_as_it_does(
    engine: Engine, fake: FakeExecutor, telling: Callable[[], ProgressSink]
) -> None:
    task = a_task()
    held = Held(engine, fake, task)
    before = read_clock()
    telling()(Progress("freeze", frozen=True))
    since = eventually(lambda: frozen_since(task))
    assert since is not None
    assert before <= since <= read_clock()

    telling()(Progress("clone", 1, frozen=True))
    eventually(lambda: phase_of(task) == "clone")
    still = frozen_since(task)
    assert still is not None
    assert abs(still - since) < timedelta(seconds=PAUSE_SECONDS / 2), "it has stood still from the first time on"

    telling()(Progress("resume"))
    eventually(lambda: phase_of(task) == "resume")
    assert frozen_since(task) is None
    held.end()


def test_a_new_attempt_begins_without_what_the_last_one_told(engine: Engine, fake: FakeExecutor) -> None:
    task = a_task()
    Task.objects.filter(pk=task.pk).update(progress={"phase": "clone", "frozen_since": "2026-05-04T00:00:00.000000Z"})
    held = Held(engine, fake, task)
    assert progress_of(task) is None
    held.end()


def phase_of(task: Task) -> str | None:
    return (fresh(task).progress or {}).get("phase")


def frozen_since(task: Task) -> datetime | None:
    told = (fresh(task).progress or {}).get("frozen_since")
    return datetime.fromisoformat(told) if told else None


def writers_that_wait() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees one moment of it otherwise
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wvs-progress' AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.rule("G9")
@pytest.mark.parametrize(("fence", "status"), [(6, Status.RUNNING), (7, Status.FAILED)])
def test_a_run_that_is_not_the_rows_any_more_writes_nothing(fence: int, status: Status) -> None:
    stale = make_task(make_workspace(), Op.SNAPSHOT_CREATE, status=status, fence=7)
    live = make_task(make_workspace(), Op.SNAPSHOT_CREATE, status=Status.RUNNING, fence=9)
    writer = ProgressWriter(direct_conninfo(application_name="wvs-progress"))
    with writer.following(stale.task_id, fence) as tell, writer.following(live.task_id, 9) as tell_live:
        for _ in range(2):
            tell(Progress("clone", 1))
            tell_live(Progress("clone", 1))
            eventually(lambda: progress_of(live), "the other one is written")
            Task.objects.filter(pk=live.pk).update(progress=None)
    writer.close()

    assert progress_of(stale) is None


def test_a_lost_connection_is_made_again(
    engine: Engine, fake: FakeExecutor, telling: Callable[[], ProgressSink]
) -> None:
    task = a_task()
    held = Held(engine, fake, task)
    telling()(Progress("clone", 1))
    eventually(lambda: progress_of(task))
    with psycopg.connect(direct_conninfo(application_name="killer"), autocommit=True) as killer:
        killer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wvs-progress'")

    def written() -> bool:
        telling()(Progress("verify", 2))
        return progress_of(task) == {"phase": "verify", "entries_done": 2, "entries_total": None}

    eventually(written)
    held.end()

"""One scheduler leads, the others stand by and take over at once (SPEC §6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tasks import bells as notifications
from tasks.bells import WORK_CHANNEL
from tasks.leadership import Leadership
from tasks.scheduler import Scheduler
from tasks.states import Status
from tests.engine.world import lost, query, wait_status
from tests.factories import make_task, make_workspace
from tests.waiting import InThread, eventually
from wvs_project.db import direct_conninfo

pytestmark = pytest.mark.rule("SPEC §6")


@pytest.fixture
def candidates() -> Iterator[Callable[[], Leadership]]:
    made: list[Leadership] = []

    def make() -> Leadership:
        made.append(Leadership())
        made[-1].connect(direct_conninfo(application_name="wvs-scheduler"), WORK_CHANNEL)
        return made[-1]

    yield make
    for one in made:
        one.close()


def _standing_by() -> list[tuple[int]]:
    return query("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


def _leader() -> int:
    ((pid,),) = query(
        "SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l USING (pid) "
        "WHERE a.application_name = 'wvs-scheduler' AND l.locktype = 'advisory' AND l.granted"
    )
    return int(pid)


def test_only_one_leads_and_the_other_takes_over_when_it_goes(candidates: Callable[[], Leadership]) -> None:
    first, second = candidates(), candidates()
    assert first.take()
    waiting = InThread(second.take)
    eventually(_standing_by, "the second to stand by")
    first.drop()
    assert waiting.result()


def test_whoever_stands_by_can_be_told_to_stop(candidates: Callable[[], Leadership]) -> None:
    first, second = candidates(), candidates()
    assert first.take()
    waiting = InThread(second.take)
    eventually(_standing_by, "the second to stand by")
    second.interrupt()
    assert waiting.result() is False


def test_a_leader_whose_connection_was_ended_learns_it_from_its_heartbeat(
    candidates: Callable[[], Leadership],
) -> None:
    leader = candidates()
    assert leader.take()
    leader.heartbeat()
    query("SELECT pg_terminate_backend(%s)", _leader())
    with pytest.raises(psycopg.OperationalError):
        leader.heartbeat()


def test_news_that_came_with_the_answer_to_a_heartbeat_is_heard(candidates: Callable[[], Leadership]) -> None:
    leader = candidates()
    notifications.announce_work("ws-1")
    leader.heartbeat()
    assert leader.hear(seconds=0.0) == ["ws-1"]


def test_a_stand_by_rings_and_rescues_only_when_it_leads(make_scheduler: Callable[[], Scheduler]) -> None:
    schedulers = [make_scheduler() for _ in range(2)]
    threads = [InThread(one.run) for one in schedulers]
    eventually(_standing_by, "the second to stand by")
    first, second = sorted(schedulers, key=lambda one: not one.leading.is_set())
    assert (first.leading.is_set(), second.leading.is_set()) == (True, False)
    first.stop()
    eventually(second.leading.is_set, "the stand-by to lead")
    task = lost(make_workspace())
    notifications.announce_work(task.workspace_id)
    wait_status(task, Status.FAILED)
    second.stop()
    for thread in threads:
        thread.result()


def test_a_leader_that_lost_its_connection_leads_again(make_scheduler: Callable[[], Scheduler]) -> None:
    scheduler = make_scheduler()
    thread = InThread(scheduler.run)
    eventually(scheduler.leading.is_set, "it to lead")
    query("SELECT pg_terminate_backend(%s)", _leader())
    notifications.announce_work("ws-1")
    eventually(lambda: not scheduler.leading.is_set(), "it to notice")
    eventually(scheduler.leading.is_set, "it to lead again")
    scheduler.stop()
    thread.result()


def test_an_idle_leader_hears_of_its_end_before_its_next_beat(make_scheduler: Callable[[], Scheduler]) -> None:
    make_task(make_workspace(), status=Status.SUCCEEDED)
    scheduler = make_scheduler()
    thread = InThread(scheduler.run)
    eventually(scheduler.leading.is_set, "it to lead")
    pid = _leader()
    query("SELECT pg_terminate_backend(%s)", pid)
    eventually(lambda: query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> %s", pid))
    scheduler.stop()
    thread.result()

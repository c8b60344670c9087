"""What the port promises, whichever executor is behind it (SPEC §1, §7): every test runs with both."""

from __future__ import annotations

import dataclasses
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from executor import descriptor, messages
from executor.contract import (
    ExecuteTask,
    ExecutorFault,
    FaultReason,
    OperationName,
    Outcome,
    Progress,
    Stopped,
    StopReason,
    StopSignal,
    live_id_for,
)
from tests.executor.calls import Call, refusal
from tests.executor.programs import held_up
from tests.executor.scene import Site, new_snapshot_id
from tests.executor.trees import plant_many, plant_small, portrait
from tests.executor_grpc.conftest import MakeSite
from tests.waiting import eventually
from wvs_agent.protocol import printable

pytestmark = pytest.mark.rule("SPEC-7")
by_juicefs = pytest.mark.parametrize("driver", [pytest.param("juicefs", marks=pytest.mark.fuse)], indirect=True)
by_copy = pytest.mark.parametrize("driver", ["copy"], indirect=True)
REASONS = [StopReason.TIMED_OUT, StopReason.CANCELED, StopReason.GUARD_LOST, StopReason.SHUTDOWN]


@contextmanager
def somebody_attached(site: Site) -> Iterator[None]:
    """An agent's lock is held, and nobody answers."""
    with site.ws.agent_lock.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock_is_free(site: Site) -> bool:
    with site.ws.lock.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def asks_for_a_freeze(site: Site) -> bool:
    return site.inventory(descriptors=False).freeze_asked


def known(outcome: Outcome) -> Outcome:
    """Without what a repeat cannot know."""
    return dataclasses.replace(outcome, already_done=False, agent=None, timings={}, clone_driver=None)


# — what is done —


def test_each_operation_is_done_and_then_found_done(site: Site) -> None:
    init = site.init_request()
    assert site.run(init).live_id == "initial"
    plant_small(site.tree)
    create = site.create_request()
    made = site.run(create)
    switch = site.switch_request(str(create.snapshot_id))
    switched = site.run(switch)

    assert portrait(site.tree) == portrait(site.ws.live("initial")) == portrait(site.snapshot_tree(site.snapshots[0]))
    assert switched.live_id == site.live_id == live_id_for(switch.task_id)
    assert switched.switched_at is not None
    for request, outcome in ((create, made), (switch, switched)):
        again = site.run(site.again(request))
        assert again.already_done
        assert not outcome.already_done
        assert known(again) == known(outcome)
    site.run(site.drop_request(str(create.snapshot_id)))
    assert site.snapshots == []
    assert site.staged == []
    site.assert_whole()


def test_an_outcome_says_what_the_snapshot_says_of_itself(site: Site) -> None:
    plant_small(site.init())
    request = dataclasses.replace(site.create_request(), message="größe 数据 🌳\n")

    outcome = site.run(request)

    said = descriptor.read(site.ws.snapshot(request.snapshot_id), wsid=site.wsid, snapshot_id=str(request.snapshot_id))
    assert said is not None
    assert said.message == request.message
    assert (outcome.entries, outcome.bytes) == (said.entries, said.bytes)
    assert (outcome.manifest_digest, outcome.clone_driver) == (said.manifest_digest, site.driver)
    assert outcome.agent is not None
    assert not outcome.agent.attached
    assert {"clone", "scan", "verify"} <= set(outcome.timings)


def test_a_probe_tells_what_was_published_and_forbids_what_was_not(site: Site) -> None:
    site.init()
    published, never = site.create_request(), site.create_request()
    outcome = site.run(published)

    assert site.probe(site.again(never)) is None
    found = site.probe(site.again(published))

    assert found is not None
    assert known(found) == known(outcome)
    assert refusal(partial(site.run, never)).reason is FaultReason.FENCED


# — what is refused —


def a_missing_snapshot(site: Site) -> ExecuteTask:
    return site.switch_request(new_snapshot_id())


def another_tree(site: Site) -> ExecuteTask:
    return dataclasses.replace(site.create_request(), source_live_id="live-" + "0" * 8 + "-0000-0000-0000-" + "0" * 12)


def a_crafted_workspace(site: Site) -> ExecuteTask:
    return dataclasses.replace(site.create_request(), wsid="../other")


def no_snapshot(site: Site) -> ExecuteTask:
    return dataclasses.replace(site.create_request(), snapshot_id=None)


def an_older_fence(site: Site) -> ExecuteTask:
    old = site.create_request()
    site.run(site.create_request())
    return old


@pytest.mark.parametrize(
    ("ask", "reason", "permanent"),
    [
        (a_missing_snapshot, FaultReason.SNAPSHOT_MISSING, True),
        (another_tree, FaultReason.DRIFT, True),
        (a_crafted_workspace, FaultReason.UNSAFE_PATH, True),
        (no_snapshot, FaultReason.UNSAFE_PATH, True),
        (an_older_fence, FaultReason.FENCED, False),
    ],
)
def test_a_refusal_keeps_its_reason(site: Site, ask: object, reason: FaultReason, permanent: bool) -> None:
    site.init()
    assert callable(ask)

    fault = refusal(partial(site.run, ask(site)))

    assert (fault.reason, fault.permanent, fault.outcome_unknown) == (reason, permanent, False)
    assert fault.message


def test_an_agent_that_does_not_answer_is_no_agent_that_stands_still(make_site: MakeSite) -> None:
    site = make_site(quiesce=1.0)
    site.init()
    with somebody_attached(site):
        fault = refusal(partial(site.run, site.create_request()))

    assert fault.reason is FaultReason.QUIESCE_TIMEOUT
    assert (site.snapshots, site.staged, asks_for_a_freeze(site)) == ([], [], False)


def test_a_crash_after_publication_leaves_an_unknown_outcome_and_a_probe_that_knows(make_site: MakeSite) -> None:
    site = make_site(armed="create.published=raise")
    site.init()
    request = site.create_request()

    fault = refusal(partial(site.run, request))

    assert (fault.reason, fault.outcome_unknown) == (FaultReason.INTERNAL, True)
    assert site.probe(site.again(request)) is not None


# — what is stopped —


def test_who_is_stopped_before_the_beginning_does_nothing(site: Site, stop: StopSignal) -> None:
    site.init()
    stop.stop(StopReason.CANCELED)
    before = site.seen_fence

    with pytest.raises(Stopped):
        site.run(site.create_request(), stop)

    assert (site.snapshots, site.seen_fence) == ([], before)


@pytest.mark.rule("G13")
@pytest.mark.rule("G14")
@pytest.mark.parametrize("reason", REASONS)
def test_a_stop_is_obeyed_before_the_call_returns(make_site: MakeSite, stop: StopSignal, reason: StopReason) -> None:
    site = make_site(quiesce=60.0)
    site.init()
    with somebody_attached(site):
        call = Call(partial(site.run, site.create_request(), stop))
        eventually(partial(asks_for_a_freeze, site), "the run waits for the agent")

        stop.stop(reason)
        outcome = call.outcome()
        left = lock_is_free(site), site.staged, asks_for_a_freeze(site)

    assert isinstance(outcome, Stopped)
    assert outcome.reason is reason
    assert left == (True, [], False)
    assert site.snapshots == []


@pytest.mark.rule("G14")
@by_juicefs
def test_a_stop_kills_the_clone(make_site: MakeSite, tmp_path: Path, stop: StopSignal) -> None:
    program = held_up(tmp_path, "sleeping")
    site = make_site(juicefs=program.path)
    site.init()
    call = Call(partial(site.run, site.create_request(), stop))
    pid = program.pid

    stop.stop(StopReason.CANCELED)

    assert isinstance(call.outcome(), Stopped)
    assert not Path(f"/proc/{pid}").exists()
    assert site.staged == []


def test_what_is_published_wins_over_a_stop(make_site: MakeSite, tmp_path: Path, stop: StopSignal) -> None:
    go = tmp_path / "go"
    site = make_site(armed=f"set_current.switched=pause:{go}")
    site.init()
    request = site.switch_request(site.snapshot())
    call = Call(partial(site.run, request, stop))
    eventually(lambda: site.live_id == live_id_for(request.task_id), "the switch")

    stop.stop(StopReason.CANCELED)
    go.touch()
    outcome = call.result()

    assert isinstance(outcome, Outcome)
    assert outcome.live_id == live_id_for(request.task_id)
    assert not outcome.already_done


@by_juicefs
def test_a_newer_attempt_ends_an_older_one(make_site: MakeSite, tmp_path: Path) -> None:
    program = held_up(tmp_path, "sleeping")
    site = make_site(juicefs=program.path)
    site.init()
    request = site.create_request()
    old = Call(partial(site.run, request))
    assert program.pid

    assert site.probe(site.again(request)) is None
    outcome = old.outcome()

    assert isinstance(outcome, ExecutorFault)
    assert (outcome.reason, outcome.outcome_unknown) == (FaultReason.FENCED, False)


@by_copy
@pytest.mark.parametrize("op", [OperationName.SNAPSHOT_CREATE, OperationName.SET_CURRENT])
def test_a_newer_attempt_does_not_wait_for_the_agent_that_an_older_one_waits_for(
    make_site: MakeSite, op: OperationName
) -> None:
    site = make_site(quiesce=60.0)
    site.init()
    request = site.create_request() if op is OperationName.SNAPSHOT_CREATE else site.switch_request(site.snapshot())
    before = site.snapshots
    with somebody_attached(site):
        old = Call(partial(site.run, request))
        eventually(partial(asks_for_a_freeze, site), "the older one waits for the agent")

        assert site.probe(site.again(request)) is None
        outcome = old.outcome()
        left = site.staged, asks_for_a_freeze(site)

    assert isinstance(outcome, ExecutorFault)
    assert (outcome.reason, outcome.outcome_unknown) == (FaultReason.FENCED, False)
    assert (site.snapshots, site.live_id, left) == (before, "initial", ([], False))


# — progress —


def test_progress_is_told_in_order_and_before_the_end(site: Site) -> None:
    plant_many(site.init(), entries=300)
    told: list[Progress] = []

    site.run(site.create_request(), progress=told.append)

    assert told
    assert {progress.phase for progress in told} <= {"quiesce", "scan", "clone", "verify"}
    assert not any(progress.frozen for progress in told), "nobody is attached"
    clones = [progress.entries_done for progress in told if progress.phase == "clone"]
    assert clones == sorted(clones)


@pytest.mark.parametrize(
    "told", [Progress("freeze", frozen=True), Progress("clone", 3, 7, frozen=True), Progress("scan")]
)
def test_progress_crosses_the_wire_whole(told: Progress) -> None:
    assert messages.progress_from_wire(messages.progress_to_wire(told)) == told


# — upkeep —


def test_the_inventory_is_the_same_and_names_are_what_they_are(site: Site) -> None:
    site.init()
    snapshot = site.snapshot()
    odd = os.fsdecode(b"not-utf8-\xff\xfe\n")
    (site.ws.live_dir / odd).mkdir()
    (site.ws.root / odd).touch()

    found = site.inventory()

    assert site.wsid in site.executor.workspaces()
    assert (found.wsid, found.current, found.fence) == (site.wsid, "live/initial", site.seen_fence)
    assert found.live == ("initial", printable(odd))
    assert printable(odd) in found.strange
    assert [item.name for item in found.snapshots] == [snapshot]
    facts = found.snapshots[0].facts
    assert facts is not None
    assert (facts.message, facts.source_live_id, facts.clone_driver) == ("as it was", "initial", site.driver)
    assert site.inventory(descriptors=False).snapshots[0].facts is None
    assert site.executor.inventory("nobody-there", descriptors=True) is None


def test_a_sweep_and_a_purge_take_what_they_are_told(site: Site) -> None:
    site.init()
    site.switch_to(site.snapshot())
    current = site.live_id
    [snapshot] = site.snapshots

    swept = site.sweep(live=("initial", current), snapshots=(snapshot,))
    purged = site.purge()

    assert swept.moved == ("live/initial", f"snapshots/{snapshot}")
    assert list(swept.kept) == [f"live/{current}"]
    assert swept.kept[f"live/{current}"]
    assert (site.lives, site.snapshots, site.staged) == ([current], [], [])
    assert purged.deleted
    assert not purged.left


def test_a_freeze_that_a_dead_executor_left_is_taken_back(site: Site) -> None:
    site.init()
    site.ask_freeze()

    assert site.sweep(thaw=True).thawed
    assert not asks_for_a_freeze(site)


def test_the_last_change_in_a_tree_is_a_moment_in_utc(site: Site) -> None:
    plant_small(site.init())
    written = site.last_written("initial")

    assert written.tzinfo is UTC
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=5)


def test_upkeep_obeys_a_stop_and_keeps_its_faults(site: Site, stop: StopSignal) -> None:
    site.init()
    old = site.sweep_request(live=("initial",))
    site.run(site.create_request())

    assert refusal(lambda: site.executor.sweep(old, stop=stop)).reason is FaultReason.FENCED
    assert refusal(lambda: site.executor.inventory("../other", descriptors=False)).reason is FaultReason.UNSAFE_PATH
    stop.stop(StopReason.SHUTDOWN)
    for work in (
        partial(site.sweep, stop, live=("initial",)),
        partial(site.purge, stop),
        partial(site.last_written, "initial", stop),
    ):
        with pytest.raises(Stopped) as caught:
            work()
        assert caught.value.reason is StopReason.SHUTDOWN


@by_copy
def test_every_operation_can_be_asked_for(site: Site) -> None:
    """A new one needs its message."""
    site.init()
    for op in OperationName:
        request = dataclasses.replace(site.create_request(), op=op, snapshot_id=new_snapshot_id())
        outcome = Call(partial(site.run, request)).outcome()
        assert not isinstance(outcome, ExecutorFault) or outcome.reason is not FaultReason.INTERNAL

"""The way out of an agent lock that nobody answers for, by both executors (SPEC §7, §8)."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from executor.contract import ExecutorFault, FaultReason, StopSignal
from executor.upkeep import Detached, DetachOutcome
from tests.agent.scene import HandAgent, agent_lock_is_free, wait_for
from tests.executor.scene import Site
from tests.executor_grpc.conftest import MakeSite
from wvs_agent import QuiesceWatcher
from wvs_agent.protocol import AgentState, ControlState, read_control

pytestmark = [pytest.mark.rule("§8"), pytest.mark.parametrize("driver", ["copy"], indirect=True)]


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A workspace; an agent has a second to answer."""
    made = make_site(quiesce=1.0)
    made.init()
    return made


@pytest.fixture
def silent(site: Site) -> Iterator[HandAgent]:
    """An agent that was there, and does not answer any more."""
    agent = HandAgent(site.ws, "somebody")
    agent.say(AgentState.RUNNING, "", old_handles=("cwd 7 live/old",))
    yield agent
    agent.close()


def detach(site: Site, stop: StopSignal, fence: int = 1000) -> Detached:
    return site.executor.detach(site.wsid, fence=fence, stop=stop)


def test_a_lock_that_nobody_answers_for_is_taken_away_and_the_next_snapshot_needs_no_answer(
    site: Site, silent: HandAgent, stop: StopSignal
) -> None:
    with pytest.raises(ExecutorFault) as refused:
        site.run(site.create_request())
    assert refused.value.reason is FaultReason.QUIESCE_TIMEOUT
    assert detach(site, stop, fence=3) == Detached(DetachOutcome.DETACHED, "somebody")
    assert agent_lock_is_free(site.ws.root)
    assert site.ws.agent_lock.stat().st_mode & 0o777 == 0o666
    skipped = site.create_request()  # its fence is the detach's
    outcome = site.run(site.again(skipped))
    assert outcome.agent is not None
    assert not outcome.agent.attached


def test_an_agent_that_answers_keeps_its_lock_and_goes_on(site: Site, stop: StopSignal) -> None:
    heard: list[str] = []
    with QuiesceWatcher(site.ws.root, lambda: heard.append("freeze"), heard.append, agent_id="me"):
        assert detach(site, stop) == Detached(DetachOutcome.ANSWERS, "me")
        assert heard == ["freeze", "live/initial"]
        assert not agent_lock_is_free(site.ws.root)


def test_an_agent_that_refuses_answers_too(site: Site, silent: HandAgent, stop: StopSignal) -> None:
    def refuse() -> None:
        silent.say(AgentState.RUNNING, silent.asked().nonce)

    thread = threading.Thread(target=refuse)
    thread.start()
    assert detach(site, stop).outcome is DetachOutcome.ANSWERS
    thread.join()
    assert not agent_lock_is_free(site.ws.root)


def test_where_nobody_is_attached_nothing_is_changed(site: Site, stop: StopSignal) -> None:
    before = site.ws.agent_lock.stat().st_ino
    assert detach(site, stop) == Detached(DetachOutcome.NOBODY, "")
    assert site.ws.agent_lock.stat().st_ino == before


def test_no_request_is_left_for_the_agent_that_did_not_answer(site: Site, silent: HandAgent, stop: StopSignal) -> None:
    detach(site, stop)
    control = read_control(site.ws.control)
    assert control is not None
    assert control.state is ControlState.REQUEST_RESUME


@pytest.mark.rule("H4")
def test_an_agent_that_only_was_slow_attaches_again(site: Site, silent: HandAgent, stop: StopSignal) -> None:
    detach(site, stop)
    assert silent.lock.confirm()
    assert not agent_lock_is_free(site.ws.root)


def test_a_newer_attempt_ends_the_wait_and_the_lock_stays(site: Site, silent: HandAgent, stop: StopSignal) -> None:
    site.sweep()  # its fence is 2
    with pytest.raises(ExecutorFault) as fenced:
        detach(site, stop, fence=1)
    assert fenced.value.reason is FaultReason.FENCED
    assert not agent_lock_is_free(site.ws.root)


def test_who_holds_the_lock_is_told(site: Site, silent: HandAgent) -> None:
    seen = site.executor.agent(site.wsid)
    assert seen is not None
    assert (seen.attached, seen.agent_id, seen.state) == (True, "somebody", "RUNNING")
    assert (seen.current, seen.old_handles) == ("live/initial", ("cwd 7 live/old",))
    silent.close()
    wait_for(lambda: (now := site.executor.agent(site.wsid)) is not None and not now.attached, "nobody is attached")


@pytest.mark.rule("H12")
def test_a_planted_answer_is_not_believed(site: Site, silent: HandAgent, stop: StopSignal) -> None:
    site.ws.agent_file.unlink()
    site.ws.agent_file.mkdir()
    seen = site.executor.agent(site.wsid)
    assert seen is not None
    assert (seen.attached, seen.agent_id) == (True, "")


def test_of_a_workspace_that_is_not_there_nothing_is_told(site: Site) -> None:
    assert site.executor.agent("no-such-workspace") is None

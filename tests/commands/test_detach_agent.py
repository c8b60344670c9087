"""`manage.py detach_agent`: who holds the lock, a question, and the lock taken away once, audited (SPEC §8, §9)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from executor.config import read_config
from executor.layout import Layout
from executor.local import LocalExecutor
from tasks.models import AuditEvent, Op
from tasks.worker import build_engine
from tests.agent.scene import HandAgent, agent_lock_is_free
from tests.e2e.world import World
from tests.factories import make_task
from wvs_agent import QuiesceWatcher
from wvs_agent.protocol import AgentState
from wvs_project.config import get_config

pytestmark = [pytest.mark.rule("§8"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def world(transactional_db: None, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A workspace on a volume; agents have half a second to answer."""
    monkeypatch.setenv("EXECUTOR_MOUNT_PATH", str(workdir))
    monkeypatch.setenv("EXECUTOR_QUIESCE_TIMEOUT", "0.5s")
    engine = build_engine(get_config(), LocalExecutor(read_config()))
    world = World(workdir, engine)
    world.done(world.submit(Op.INIT_WORKSPACE))
    yield world
    engine.close()


@pytest.fixture
def silent(world: World) -> Iterator[HandAgent]:
    agent = HandAgent(Layout(world.mount).workspace(world.wsid), "somebody")
    agent.say(AgentState.RUNNING, "", old_handles=("cwd 7 live/old",))
    yield agent
    agent.close()


def detach_agent(world: World, *arguments: str) -> str:
    """What it says on standard output."""
    out = StringIO()
    call_command("detach_agent", world.wsid, *arguments, stdout=out, stderr=StringIO(), no_color=True)
    return out.getvalue()


def test_a_lock_that_nobody_answers_for_is_taken_away_and_audited(world: World, silent: HandAgent) -> None:
    said = detach_agent(world, "--yes")
    assert "the agent lock is held; the last answer is of somebody, which said RUNNING" in said
    assert "still open in an old tree: cwd 7 live/old" in said
    assert "detached: nobody answered" in said
    assert agent_lock_is_free(world.root)
    event = AuditEvent.objects.get(action="agent.detach")
    assert (event.wsid, event.actor["type"]) == (world.wsid, "command")
    assert event.payload["before"]["agent_id"] == "somebody"
    assert event.payload["after"] == {"outcome": "detached", "agent_id": "somebody"}


def test_a_dry_run_only_says_who_holds_it(world: World, silent: HandAgent) -> None:
    answer = json.loads(detach_agent(world, "--dry-run", "--json"))
    assert (answer["dry_run"], answer["outcome"]) == (True, None)
    assert (answer["agent"]["attached"], answer["agent"]["agent_id"]) == (True, "somebody")
    assert not agent_lock_is_free(world.root)
    assert not AuditEvent.objects.filter(action="agent.detach").exists()


def test_an_agent_that_answers_keeps_its_lock(world: World) -> None:
    with QuiesceWatcher(world.root, lambda: None, lambda _: None, agent_id="me"):
        with pytest.raises(CommandError) as refused:
            detach_agent(world, "--yes")
        assert refused.value.returncode == 1
        assert not agent_lock_is_free(world.root)
    assert AuditEvent.objects.get(action="agent.detach").payload["after"]["outcome"] == "answers"


def test_where_nobody_is_attached_it_says_so(world: World) -> None:
    said = detach_agent(world, "--yes")
    assert "nobody is attached: nothing was to be done" in said


def test_while_a_task_runs_nothing_is_done(world: World, silent: HandAgent) -> None:
    make_task(world.row(), Op.SNAPSHOT_CREATE, status="RUNNING")
    with pytest.raises(CommandError, match="a task runs") as refused:
        detach_agent(world, "--yes")
    assert refused.value.returncode == 1
    assert not agent_lock_is_free(world.root)


def test_it_asks_first(world: World, silent: HandAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(CommandError, match="nothing was done"):
        detach_agent(world)
    assert not agent_lock_is_free(world.root)
    monkeypatch.setattr("builtins.input", lambda _: "y")
    detach_agent(world)
    assert agent_lock_is_free(world.root)


def test_without_a_terminal_it_wants_to_be_told(
    world: World, silent: HandAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO())
    with pytest.raises(CommandError, match="--yes") as refused:
        detach_agent(world)
    assert refused.value.returncode == 2
    assert not agent_lock_is_free(world.root)


def test_a_workspace_that_is_not_there_is_said_to_be(world: World) -> None:
    with pytest.raises(CommandError, match="WVS_NOT_FOUND") as refused:
        call_command("detach_agent", "no-such-workspace", "--yes", stdout=StringIO())
    assert refused.value.returncode == 2

"""A connection can be lost at any time (SPEC §6, §7): then nobody guesses what became of the work, and it stops."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest

from executor import messages
from executor.client import RemoteExecutor
from executor.config import ExecutorConfigError
from executor.contract import ExecutorFault, FaultReason, OperationName, Outcome, Stopped, StopReason, StopSignal
from executor.wire import executor_pb2 as pb
from executor.wire.executor_pb2_grpc import ExecutorServiceStub
from tests.chaos.proxy import TcpProxy
from tests.executor.calls import Call, refusal
from tests.executor.scene import Site
from tests.executor_grpc.conftest import Services, delete
from tests.executor_grpc.served import RemoteSite, Served, served
from tests.waiting import eventually
from wvs_project.stack.waiting import LOOPBACK, free_port

pytestmark = pytest.mark.rule("SPEC-7-connection")
COPY = {"EXECUTOR_CLONE_DRIVER": "copy", "EXECUTOR_QUIESCE_TIMEOUT": "60s"}


@contextmanager
def held_by_an_agent(site: Site) -> Iterator[None]:
    """What wants a freeze waits: an agent's lock is held, and nobody answers."""
    with site.ws.agent_lock.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def waits_for_its_agent(site: Site) -> bool:
    try:
        return b"REQUEST_FREEZE" in site.ws.control.read_bytes()
    except FileNotFoundError:  # between two of its versions
        return False


def is_at_rest(site: Site) -> bool:
    """Nobody works there: the lock is free, the agent was told to go on, staging is empty."""
    with site.ws.lock.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return not waits_for_its_agent(site) and site.staged == []


def lost(outcome: object) -> bool:
    """The fault of a connection that was lost."""
    assert isinstance(outcome, ExecutorFault), outcome
    return outcome.reason is FaultReason.UNAVAILABLE and outcome.outcome_unknown


def nobody_there(outcome: object) -> bool:
    """The fault of an executor that was asked for nothing, for it gave no sign of life, or that took nothing up."""
    assert isinstance(outcome, ExecutorFault), outcome
    return (outcome.reason, outcome.outcome_unknown, outcome.begun) == (FaultReason.UNAVAILABLE, False, False)


@pytest.fixture
def service(plain_volume: Path, services: Services) -> Served:
    return services.on(plain_volume, **COPY)


@pytest.fixture
def proxy(service: Served) -> Iterator[TcpProxy]:
    """The way to the service."""
    way = TcpProxy(service.port)
    way.start()
    yield way
    way.stop()


@pytest.fixture
def site(plain_volume: Path, proxy: TcpProxy) -> Iterator[RemoteSite]:
    """A workspace whose executor is reached through the proxy."""
    made = RemoteSite(plain_volume, "copy", f"{LOOPBACK}:{proxy.port}")
    made.init()
    yield made
    made.close()
    delete(made)


def test_of_an_executor_that_is_not_there_it_is_known_that_nothing_was_begun(plain_volume: Path) -> None:
    site = RemoteSite(plain_volume, "copy", f"{LOOPBACK}:{free_port()}")

    assert nobody_there(Call(partial(site.run, site.init_request())).outcome())
    for ask in (partial(site.probe, site.init_request()), site.inventory, site.executor.workspaces, site.sweep):
        assert refusal(ask).reason is FaultReason.UNAVAILABLE
    site.close()


def test_a_connection_that_is_cut_leaves_an_unknown_outcome_and_the_run_stops(
    site: RemoteSite, proxy: TcpProxy
) -> None:
    request = site.create_request()
    with held_by_an_agent(site):
        call = Call(partial(site.run, request))
        eventually(partial(waits_for_its_agent, site), "the run waits for its agent")

        proxy.cut()

        assert lost(call.outcome())
        eventually(partial(is_at_rest, site), "the run has stopped")
    assert site.probe(site.again(request)) is None
    assert site.run(site.again(request)).entries == 0


def test_a_connection_that_is_cut_after_publication_is_found_published(site: RemoteSite, proxy: TcpProxy) -> None:
    request = site.create_request()
    outcome = site.run(request)
    proxy.refuse()
    assert nobody_there(Call(partial(site.run, site.again(request))).outcome())

    proxy.heal()
    [found] = eventually(lambda: answered(partial(site.probe, site.again(request))), "the executor is found again")

    assert found is not None
    assert found.entries == outcome.entries


def test_a_connection_on_which_nothing_passes_is_given_up(site: RemoteSite, proxy: TcpProxy) -> None:
    """Nobody says that it is lost: both sides ask, and stop waiting for an answer."""
    with held_by_an_agent(site):
        call = Call(partial(site.run, site.create_request()))
        eventually(partial(waits_for_its_agent, site), "the run waits for its agent")

        proxy.stall()

        assert lost(call.outcome())
        eventually(partial(is_at_rest, site), "the run has stopped")
    proxy.heal()


def test_a_stop_without_a_way_to_ask_leaves_an_unknown_outcome(
    site: RemoteSite, proxy: TcpProxy, stop: StopSignal
) -> None:
    with held_by_an_agent(site):
        call = Call(partial(site.run, site.create_request(), stop))
        eventually(partial(waits_for_its_agent, site), "the run waits for its agent")
        proxy.refuse()
        stop.stop(StopReason.CANCELED)
        outcome = call.outcome()
        eventually(partial(is_at_rest, site), "the run has stopped")
    proxy.heal()

    assert isinstance(outcome, ExecutorFault)
    assert outcome.outcome_unknown


@pytest.mark.rule("P0-cancel-overtakes")
def test_what_was_stopped_cannot_begin_any_more(site: RemoteSite, service: Served, stop: StopSignal) -> None:
    """The call is canceled, its request comes late: it finds itself overtaken, and publishes nothing."""
    request = site.create_request()
    with held_by_an_agent(site):
        call = Call(partial(site.run, request, stop))
        eventually(partial(waits_for_its_agent, site), "the run waits for its agent")
        stop.stop(StopReason.CANCELED)
        assert isinstance(call.outcome(), Stopped)

    assert refusal(partial(site.run, request)).reason is FaultReason.FENCED
    assert site.snapshots == []


def test_the_deadline_of_a_call_stops_the_run_and_is_told(site: RemoteSite) -> None:
    """Whoever calls without watching the time: the deadline is gRPC's own."""
    request = dataclasses.replace(site.create_request(), timeout_seconds=-4.0)  # with the client's slack: a second
    with held_by_an_agent(site):
        call = Call(partial(site.run, request))
        outcome = call.outcome()

        assert isinstance(outcome, Stopped), outcome
        assert outcome.reason is StopReason.TIMED_OUT
        assert is_at_rest(site)


def test_a_caller_that_is_killed_has_its_run_stopped(site: RemoteSite, service: Served) -> None:
    channel = grpc.insecure_channel(service.addr)
    request = pb.ExecuteRequest(attempt=messages.attempt_to_wire(site.create_request()))
    with held_by_an_agent(site):
        events = ExecutorServiceStub(channel).Execute(request)
        eventually(partial(waits_for_its_agent, site), "the run waits for its agent")

        channel.close()  # what the kernel does for one that is dead

        eventually(partial(is_at_rest, site), "the run has stopped")
    del events


def test_an_executor_killed_in_mid_run_is_taken_over_by_the_next_start(plain_volume: Path, tmp_path: Path) -> None:
    with served(plain_volume, tmp_path / "log", **COPY) as service:
        site = RemoteSite(plain_volume, "copy", service.addr)
        site.init()
        request = site.create_request()
        with held_by_an_agent(site):
            call = Call(partial(site.run, request))
            eventually(partial(waits_for_its_agent, site), "the run waits for its agent")
            service.kill()
            assert lost(call.outcome())

        service.start()
        again = site.again(request)
        assert eventually(lambda: answered(partial(site.probe, again)), "the executor is found again") == [None]
        assert site.run(again).entries == 0
        site.close()
        delete(site)


def answered(ask: partial[Outcome | None]) -> list[Outcome | None]:
    """The answer in a list; nothing while there is none."""
    try:
        return [ask()]
    except ExecutorFault as fault:
        if fault.reason is not FaultReason.UNAVAILABLE:
            raise
        return []


def test_a_stopped_executor_process_is_given_up_and_only_one_caller_waits_for_it(
    plain_volume: Path, tmp_path: Path
) -> None:
    with served(plain_volume, tmp_path / "log", **COPY) as service:
        site = RemoteSite(plain_volume, "copy", service.addr)
        site.init()
        assert service.process is not None
        os.kill(service.process.pid, signal.SIGSTOP)
        try:
            calls = [Call(partial(site.run, site.create_request())) for _ in range(3)]
            eventually(lambda: sum(call.is_over for call in calls) == 2, "two of them do not wait for the third")
            assert all(nobody_there(call.outcome()) for call in calls)
        finally:
            os.kill(service.process.pid, signal.SIGCONT)
        site.close()
        delete(site)


def test_an_operation_of_a_later_release_is_refused_by_name(service: Served) -> None:
    wire = messages.attempt_to_wire(
        RemoteSite(Path(service.settings["EXECUTOR_MOUNT_PATH"]), "copy", service.addr).init_request()
    )
    wire.operation = 99  # type: ignore[assignment]
    with grpc.insecure_channel(service.addr) as channel:
        [said] = ExecutorServiceStub(channel).Execute(pb.ExecuteRequest(attempt=wire))

    assert "99" in said.fault.message


def test_the_kinds_of_values_are_those_of_the_port() -> None:
    for names, prefix, kinds in (
        (pb.Operation.keys(), "OPERATION_", OperationName),
        (pb.FaultReason.keys(), "FAULT_REASON_", FaultReason),
        (pb.StopReason.keys(), "STOP_REASON_", StopReason),
    ):
        assert {name.removeprefix(prefix) for name in names} - {"UNSPECIFIED"} == set(kinds.__members__)


@pytest.mark.parametrize("addrs", [[], ["nonsense"], ["a:1", "a:1"], ["a:99999"], ["a:1/x"], ["u@a:1"]])
def test_addresses_that_name_no_executor_are_refused(addrs: list[str]) -> None:
    with pytest.raises(ExecutorConfigError, match="EXECUTOR_ADDRS"):
        RemoteExecutor(addrs)


# — many —


@pytest.mark.fuse
def test_a_workspace_that_moves_to_another_executor_is_safe(
    juicefs_volume: object, servers: object, tmp_path: Path
) -> None:
    """Two services on two mounts of one volume: fence and lock lie on the volume."""
    settings = {"EXECUTOR_QUIESCE_TIMEOUT": "60s"}
    with ExitStack() as stack:
        first_mount: Path = juicefs_volume.mount  # type: ignore[attr-defined]
        second_mount = stack.enter_context(juicefs_volume.second_mount())  # type: ignore[attr-defined]
        one = stack.enter_context(served(first_mount, tmp_path / "one", **settings))
        two = stack.enter_context(served(second_mount, tmp_path / "two", **settings))
        site = RemoteSite(first_mount, "juicefs", one.addr)
        site.init()
        request = site.create_request()
        moved = RemoteExecutor([two.addr])
        with held_by_an_agent(site):
            old = Call(partial(site.run, request))
            eventually(partial(waits_for_its_agent, site), "the first one waits for the agent")
            site_of_two = site.executor
            site.executor = moved  # type: ignore[assignment]
            call = Call(partial(site.probe, site.again(request)))
            assert not call.is_over, "both at once"
            site_of_two.close()  # the worker of the first is gone
            assert lost(old.outcome())
            assert call.result() is None
        made = site.run(site.again(request))
        assert made.entries == 0
        assert site.snapshots == [request.snapshot_id]
        moved.close()
        delete(site)


def test_upkeep_asks_any_executor_that_lives_and_routes_the_rest(service: Served, plain_volume: Path) -> None:
    dead = [f"{LOOPBACK}:{free_port()}" for _ in range(3)]
    site = RemoteSite(plain_volume, "copy", *dead, service.addr)
    only = RemoteExecutor([service.addr])

    assert site.executor.workspaces() == only.workspaces()

    only.close()
    site.close()

"""The service around the port (SPEC §7, §10, §11): what it refuses, how it tells of its health, how it ends."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from executor.contract import Stopped, StopReason
from executor.server import SERVICE
from tests.executor.calls import Call, refusal
from tests.executor.scene import LIMIT, ROOT
from tests.executor_grpc.conftest import delete
from tests.executor_grpc.served import RemoteSite, Served, served
from tests.executor_grpc.test_connections import (
    held_by_an_agent,
    is_at_rest,
    nobody_there,
    waits_for_its_agent,
)
from tests.servers import Servers
from tests.waiting import eventually
from wvs_project.stack.juicefs import Mount, Volume, is_mounted, mounted, unmount_lazily
from wvs_project.stack.waiting import LOOPBACK, free_port

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
COPY = {"EXECUTOR_CLONE_DRIVER": "copy", "EXECUTOR_QUIESCE_TIMEOUT": "60s"}


def health_of(addr: str, service: str = SERVICE) -> int | None:
    """What grpc.health.v1 answers within two seconds; None: nothing."""
    with grpc.insecure_channel(addr) as channel:
        try:
            asked = health_pb2.HealthCheckRequest(service=service)
            return int(health_pb2_grpc.HealthStub(channel).Check(asked, timeout=2).status)  # type: ignore[attr-defined]
        except grpc.RpcError:
            return None


@pytest.fixture
def service(plain_volume: Path, tmp_path: Path) -> Iterator[Served]:
    """One for the test alone, which may end it."""
    with served(plain_volume, tmp_path / "executor.log", **COPY) as made:
        yield made


@pytest.fixture
def site(plain_volume: Path, service: Served) -> Iterator[RemoteSite]:
    made = RemoteSite(plain_volume, "copy", service.addr)
    made.init()
    yield made
    made.close()
    delete(made)


# — what stops the start —


def refused(mount: Path, tmp_path: Path, **settings: str) -> str:
    """What it says when it does not start."""
    service = Served(mount, tmp_path / "refused.log", **{"EXECUTOR_CLONE_DRIVER": "copy", **settings})
    process = service.spawn()
    try:
        assert process.wait(LIMIT) == 2, service.log.read_text()
    finally:
        service.stop()
    return service.log.read_text()


@pytest.mark.rule("SPEC-10")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"EXECUTOR_GRPC_ADDR": "0.0.0.0:0"}, "EXECUTOR_GRPC_ADDR=0.0.0.0:0: plaintext is for loopback only"),
        ({"EXECUTOR_METRICS_ADDR": "0.0.0.0:0"}, "EXECUTOR_METRICS_ADDR=0.0.0.0:0"),
        (
            {"JFS_META_URL": "sqlite3:///x", "JFS_METRICS_ADDR": "0.0.0.0:1"},
            "JFS_METRICS_ADDR=0.0.0.0:1",
        ),
        ({"EXECUTOR_GRPC_ADDR": "nonsense"}, "EXECUTOR_GRPC_ADDR='nonsense': expected host:port"),
        ({"EXECUTOR_QUIESCE_TIMEOUT": "300s"}, "EXECUTOR_QUIESCE_TIMEOUT (300 s) must be smaller"),
        ({"EXECUTOR_MOUNT_PATH": "/nowhere/at/all"}, "No such file or directory"),
        ({"EXECUTOR_CLONE_DRIVER": "auto"}, "nothing is mounted there"),
        ({"EXECUTOR_CLONE_DRIVER": "juicefs"}, "is no JuiceFS mount"),
        ({"EXECUTOR_SHUTDOWN_TIMEOUT": "soon"}, "EXECUTOR_SHUTDOWN_TIMEOUT: 'soon' is not a duration"),
        ({"EXECUTOR_TLS_CA": "/some/ca.pem"}, "EXECUTOR_TLS_CERT, EXECUTOR_TLS_KEY missing"),
        ({"WVS_DB_DSN": "postgresql://wvs:hidden@db/wvs"}, "WVS_DB_DSN in the executor's environment"),
        ({"WVS_REDIS_URL": "redis://:hidden@redis"}, "WVS_REDIS_URL in the executor's environment"),
        ({"WVS_LOG_LEVEL": "loud"}, "WVS_LOG_LEVEL"),
        ({"JFS_META_URL": "sqlite3:///x", "MINIO_ENDPOINT": "http://minio"}, "MINIO_ACCESS_KEY, MINIO_SECRET_KEY"),
    ],
)
def test_a_setting_that_is_unsafe_or_unusable_stops_the_start_and_is_named(
    workdir: Path, tmp_path: Path, settings: Mapping[str, str], said: str
) -> None:
    output = refused(workdir, tmp_path, **settings)

    assert said in output
    assert "the executor does not start" in output
    assert "hidden" not in output
    assert "Traceback" not in output


@pytest.mark.rule("SPEC-10")
def test_a_public_address_takes_an_explicit_word(workdir: Path, tmp_path: Path) -> None:
    settings = {**COPY, "EXECUTOR_INSECURE_ALLOW_REMOTE": "1", "EXECUTOR_GRPC_ADDR": f"0.0.0.0:{free_port()}"}
    with served(workdir, tmp_path / "log", **settings) as service:
        assert service.is_ready()


def test_two_executors_never_share_a_port(service: Served, workdir: Path, tmp_path: Path) -> None:
    assert "EXECUTOR_GRPC_ADDR" in refused(workdir, tmp_path, EXECUTOR_GRPC_ADDR=service.addr)
    taken = f"{LOOPBACK}:{service.metrics_port}"
    assert "ddress already in use" in refused(workdir, tmp_path, EXECUTOR_METRICS_ADDR=taken)


@pytest.mark.fuse
def test_a_dead_mount_stops_the_start(servers: Servers, tmp_path: Path) -> None:
    with own_volume(servers) as volume, mounted(Mount(volume, tmp_path / "ws", tmp_path / "cache")) as mount:
        kill_mount(mount_processes(mount.pid))
        assert "Transport endpoint is not connected" in refused(mount.path, tmp_path, EXECUTOR_CLONE_DRIVER="auto")


def test_it_never_imports_django_nor_anything_of_the_control_plane() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, executor.__main__; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    packages = {name.partition(".")[0] for name in loaded}

    assert not packages & {
        "django",
        "rest_framework",
        "dramatiq",
        "psycopg",
        "redis",
        "tasks",
        "snapshots",
        "workspaces",
    }
    assert {name for name in loaded if name.startswith("wvs_project")} == set()


# — what it shows —


def test_health_and_reflection_are_served(service: Served) -> None:
    assert health_of(service.addr) == health_of(service.addr, "") == SERVING
    with grpc.insecure_channel(service.addr) as channel:
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        [said] = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked)  # type: ignore[operator]
    assert {SERVICE, "grpc.health.v1.Health"} <= {found.name for found in said.list_services_response.service}
    assert (service.get("/healthz"), service.get("/readyz"), service.get("/nothing")) == (200, 200, 404)


def test_metrics_tell_what_was_done(service: Served, site: RemoteSite) -> None:
    site.tree.joinpath("file").touch()
    site.switch_to(site.snapshot())
    refusal(partial(site.run, site.switch_request("snap-" + site.create_request().task_id.removeprefix("task-"))))

    shown = metrics_of(service)

    assert shown['wvs_clone_duration_seconds_count{op="snapshot_create"}'] == 1
    assert shown['wvs_clone_duration_seconds_count{op="set_current"}'] == 1
    assert shown['wvs_clone_entries_total{op="snapshot_create"}'] == 1
    assert shown['wvs_clone_fail_total{reason="SNAPSHOT_MISSING"}'] == 1
    assert shown["wvs_switch_duration_seconds_count"] == 1
    assert (shown["wvs_executor_active_tasks"], shown["wvs_executor_mount_up"]) == (0, 1)
    assert not any("wsid" in name for name in shown)


def metrics_of(service: Served) -> dict[str, float]:
    text = httpx.get(f"http://{LOOPBACK}:{service.metrics_port}/metrics", trust_env=False).text
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_every_line_of_a_run_says_which_task_it_serves(service: Served, site: RemoteSite) -> None:
    request = dataclasses.replace(site.create_request(), request_id="req-mine", attempt=3)
    site.run(request)

    events = [line["event"] for line in service.lines("") if line.get("request_id") == "req-mine"]
    assert events == ["execute.began", "freeze.began", "freeze.ended", "snapshot.published", "execute.done"]
    [line] = [line for line in service.lines("execute.done") if line["task_id"] == request.task_id]
    assert (line["wsid"], line["op"], line["attempt"], line["level"]) == (site.wsid, "snapshot_create", 3, "info")


# — how it ends —


@pytest.mark.rule("G12")
def test_what_runs_may_finish_and_nothing_new_begins(service: Served, site: RemoteSite, plain_volume: Path) -> None:
    with held_by_an_agent(site):
        call = Call(partial(site.run, site.create_request()))
        eventually(partial(waits_for_its_agent, site), "the run waits for its agent")
        service.ask_to_stop()
        eventually(lambda: bool(service.lines("executor.stopping")), "it is stopping")
        other = RemoteSite(plain_volume, "copy", service.addr)
        assert nobody_there(Call(partial(other.run, other.init_request())).outcome())
        assert health_of(service.addr) in (NOT_SERVING, None)
        other.close()

    assert not isinstance(call.result(), Exception)
    assert service.wait_ended() == 0


@pytest.mark.rule("G12")
def test_what_does_not_finish_in_time_is_stopped_for_a_shutdown(plain_volume: Path, tmp_path: Path) -> None:
    with served(plain_volume, tmp_path / "log", **COPY, EXECUTOR_SHUTDOWN_TIMEOUT="250ms") as service:
        site = RemoteSite(plain_volume, "copy", service.addr)
        site.init()
        with held_by_an_agent(site):
            call = Call(partial(site.run, site.create_request()))
            eventually(partial(waits_for_its_agent, site), "the run waits for its agent")
            service.ask_to_stop()
            outcome = call.outcome()
            assert service.wait_ended() == 0
            assert is_at_rest(site)
        site.close()
        delete(site)

    assert isinstance(outcome, Stopped), outcome
    assert outcome.reason is StopReason.SHUTDOWN


# — the mount —


@contextmanager
def own_volume(servers: Servers) -> Iterator[Volume]:
    """A volume of the test's own, gone afterwards."""
    base = servers.base / f"own-{secrets.token_hex(4)}"
    base.mkdir()
    meta, mark = f"sqlite3://{base}/meta.db", str(base)
    volume = Volume(meta, password="", storage=base / "objects", log=base / "log", mark=mark, name="own")
    volume.format()
    yield volume
    shutil.rmtree(base)


def mount_processes(pid: int | None) -> list[psutil.Process]:
    """The two processes of a mount: that one, or below that one."""
    assert pid is not None
    top = psutil.Process(pid)
    return [process for process in (top, *top.children(recursive=True)) if process.name() == "juicefs"]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two questions
        return False


def kill_mount(processes: list[psutil.Process]) -> None:
    """Both at once, or the one would start the other again; a dead mount stays."""
    assert len(processes) == 2
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    for process in processes:
        process.kill()


@pytest.mark.fuse
@pytest.mark.rule("SPEC-7-mount")
def test_a_mount_that_died_is_told_refused_and_found_again(servers: Servers, tmp_path: Path) -> None:
    with own_volume(servers) as volume:
        mount = Mount(volume, tmp_path / "ws", tmp_path / "cache")
        with mounted(mount), served(mount.path, tmp_path / "log") as service:
            site = RemoteSite(mount.path, "juicefs", service.addr)
            site.init()
            request = site.create_request()
            kill_mount(mount_processes(mount.pid))

            eventually(lambda: health_of(service.addr) == NOT_SERVING, "health tells of the dead mount")
            assert (service.get("/healthz"), service.get("/readyz")) == (200, 503)
            assert nobody_there(Call(partial(site.run, request)).outcome())

            mount.stop()
            mount.start()
            eventually(lambda: health_of(service.addr) == SERVING, "health tells of the mount")
            assert site.run(site.create_request()).entries == 0
            site.close()


@pytest.mark.fuse
@pytest.mark.rule("SPEC-7-mount")
def test_a_mount_that_hangs_does_not_hang_the_server(servers: Servers, tmp_path: Path) -> None:
    with ExitStack() as stack:
        volume = stack.enter_context(own_volume(servers))
        mount = stack.enter_context(mounted(Mount(volume, tmp_path / "ws", tmp_path / "cache")))
        with served(mount.path, tmp_path / "log") as service:
            held = mount_processes(mount.pid)
            for process in held:
                process.send_signal(signal.SIGSTOP)
            try:
                eventually(lambda: health_of(service.addr) == NOT_SERVING, "health tells of the mount that hangs")
                assert service.get("/readyz") == 503
            finally:
                for process in held:
                    process.send_signal(signal.SIGCONT)
            eventually(lambda: health_of(service.addr) == SERVING, "health tells of the mount")


@pytest.mark.fuse
@pytest.mark.rule("SPEC-7-mount")
def test_its_own_mount_is_made_made_again_and_gone_at_the_end(servers: Servers, tmp_path: Path) -> None:
    with own_volume(servers) as volume:
        path = tmp_path / "ws"
        shown_at = f"{LOOPBACK}:{free_port()}"
        settings = {"EXECUTOR_QUIESCE_TIMEOUT": "5s", "JFS_METRICS_ADDR": shown_at}
        with served(path, tmp_path / "log", JFS_META_URL=volume.meta_url, **settings) as service:
            assert service.process is not None
            assert "juicefs_used_inodes" in httpx.get(f"http://{shown_at}/metrics", trust_env=False).text
            processes = mount_processes(service.process.pid)
            words = " ".join(part for process in processes for part in process.cmdline())
            assert "--attr-cache=0.1" in words
            assert "--writeback" not in words
            site = RemoteSite(path, "juicefs", service.addr)
            site.init()
            kill_mount(processes)
            eventually(lambda: bool(service.lines("mount.remounted")), "it was mounted again")
            eventually(lambda: health_of(service.addr) == SERVING, "health tells of the mount")
            assert site.run(site.create_request()).entries == 0
            site.close()
            processes += mount_processes(service.process.pid)
            service.ask_to_stop()
            assert service.wait_ended() == 0
        assert not is_mounted(path)
        # Whoever adopts them may take a moment to bury them.
        eventually(lambda: not any(map(is_alive, processes)), "the mount's processes are over")


@pytest.mark.fuse
@pytest.mark.rule("SPEC-7-mount")
def test_an_executor_that_is_killed_takes_its_mount_along(servers: Servers, tmp_path: Path) -> None:
    with own_volume(servers) as volume:
        path = tmp_path / "ws"
        with served(path, tmp_path / "log", JFS_META_URL=volume.meta_url) as service:
            assert service.process is not None
            processes = mount_processes(service.process.pid)
            service.kill()
            eventually(lambda: not any(map(is_alive, processes)), "the mount has ended")
        if is_mounted(path):
            unmount_lazily(path)

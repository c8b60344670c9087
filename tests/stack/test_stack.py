"""The embedded stack: it finds its data again, recovers from a crash, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from executor.routing import executor_of
from tests.stack.running import StackOnDisk, stack_on_disk
from wvs_project.stack.juicefs import is_mounted
from wvs_project.stack.postgres import data_directory
from wvs_project.stack.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def stack() -> Iterator[StackOnDisk]:
    with stack_on_disk() as on_disk:
        yield on_disk


def make_workspace(stack: StackOnDisk, wsid: str) -> None:
    made = stack.api("POST", "/workspaces", json={"wsid": wsid, "owner": "tests"})
    assert made.status_code == 202, made.text
    path = f"/tasks/{made.json()['init_task_id']}"
    # Right after a fall the disk may fail it a time or two, and each retry waits longer than the one before.
    wait_until(lambda: stack.api("GET", f"{path}?wait=10").json()["ended_at"], limit=90, what="the end of init")
    task = stack.api("GET", path).json()
    assert task["status"] == "SUCCEEDED", json.dumps(task)


def kill_everything(stack: StackOnDisk) -> None:
    """kill -9 of the stack itself first, so that it can tidy up nothing, then of all it started."""
    for process in stack.processes:
        process.kill()
    for leftover in stack.leftovers:
        with suppress(psutil.NoSuchProcess):
            leftover.kill()
    for process in stack.processes:
        process.wait()
    wait_until(lambda: not stack.leftovers, limit=10, what="the killed processes' end")


@pytest.mark.rule("P1-04")
def test_a_fresh_stack_comes_up_by_itself_and_a_second_start_finds_its_data_again(stack: StackOnDisk) -> None:
    first = stack.up()
    assert stat.S_IMODE((stack.state / "env").stat().st_mode) == 0o600
    assert stat.S_IMODE((stack.state / "secrets").stat().st_mode) == 0o600
    password = stack.env["WVS_ADMIN_PASSWORD"]
    pids = [int(value) for name, value in stack.env.items() if name.startswith("WVS_PID_")]
    assert len(pids) >= 5
    assert all(psutil.pid_exists(pid) for pid in pids)
    make_workspace(stack, "kept")
    assert stack.stop(first, signal.SIGINT) == 0
    stack.assert_nothing_runs()

    second = stack.up()
    assert stack.api("GET", "/workspaces/kept").json()["state"] == "ACTIVE"
    assert (Path(stack.env["EXECUTOR_MOUNT_PATH"]) / "kept" / "current").is_dir()
    assert stack.env["WVS_ADMIN_PASSWORD"] == password
    assert stack.stop(second) == 0
    stack.assert_nothing_runs()


def test_after_kill_9_of_everything_the_next_start_recovers(stack: StackOnDisk) -> None:
    stack.up_to("migrations done")
    volume = next(directory for name in ("ws-plain", "ws") if (directory := stack.state / name).exists())
    (volume / "note").write_text("written before the crash")
    kill_everything(stack)

    second = stack.up()
    assert stack.read_file("note") == "written before the crash"
    make_workspace(stack, "after")
    assert stack.stop(second) == 0
    stack.assert_nothing_runs()


def test_the_death_of_the_stack_alone_ends_all_that_it_started(stack: StackOnDisk) -> None:
    process = stack.up_to("api        up")
    assert len(stack.leftovers) > 5
    process.kill()
    process.wait()
    wait_until(lambda: not stack.leftovers, limit=15, what="the end of the orphans")
    assert not is_mounted(stack.state / "ws")


def test_a_start_that_fails_half_way_leaves_nothing(stack: StackOnDisk) -> None:
    process = stack.command("up", EXECUTOR_MOUNT_PATH="/does/not/exist")
    assert process.wait(60) == 1
    assert "EXECUTOR_MOUNT_PATH=/does/not/exist" in stack.output
    assert "postgres   up" in stack.output
    stack.assert_nothing_runs()


def test_a_start_that_is_interrupted_leaves_nothing(stack: StackOnDisk) -> None:
    process = stack.up_to("redis      up")
    stack.stop(process, signal.SIGTERM)
    assert "[stack] ready" not in stack.output
    stack.assert_nothing_runs()


def test_two_stacks_on_one_directory_are_refused(stack: StackOnDisk) -> None:
    first = stack.up_to("redis      up")
    second = stack.command("up")
    assert second.wait(60) == 1
    assert f"a stack is already running on {stack.state} (pid {first.pid})" in stack.output
    assert first.poll() is None
    assert stack.command("down").wait(60) == 0
    assert first.wait(60) == 0
    stack.assert_nothing_runs()


def test_what_dies_is_started_again_and_its_new_process_id_is_told(stack: StackOnDisk) -> None:
    process = stack.up()
    names = ("WVS_PID_WORKER", "WVS_PID_JUICEFS", "WVS_PID_POSTGRES")
    for name in (name for name in names if name in stack.env):
        before = stack.env[name]
        os.killpg(int(before), signal.SIGKILL)  # both of JuiceFS's processes: the mount is dead
        wait_until(lambda name=name, before=before: stack.env[name] != before, limit=60, what=f"a new {name}")  # type: ignore[misc]
    make_workspace(stack, "after-the-fall")
    assert stack.stop(process) == 0
    stack.assert_nothing_runs()


def environment_of(stack: StackOnDisk, name: str) -> dict[str, str]:
    return psutil.Process(int(stack.env[f"WVS_PID_{name}"])).environ()


@pytest.mark.rule("SPEC-7-many")
def test_executors_apart_have_a_mount_each_and_the_worker_has_none(stack: StackOnDisk) -> None:
    process = stack.up(WVS_STACK_EXECUTORS="2")
    executors = [environment_of(stack, f"EXECUTOR_{number}") for number in (1, 2)]
    addrs = [executor["EXECUTOR_GRPC_ADDR"] for executor in executors]
    assert stack.env["EXECUTOR_ADDRS"] == environment_of(stack, "WORKER")["EXECUTOR_ADDRS"] == ",".join(addrs)
    assert "EXECUTOR_MOUNT_PATH" not in environment_of(stack, "WORKER")
    assert not any(executor.keys() & {"WVS_DB_DSN", "WVS_REDIS_URL", "WVS_SECRET_KEY"} for executor in executors)
    mounts = {executor["EXECUTOR_MOUNT_PATH"] for executor in executors}
    assert len(mounts) == (2 if "WVS_PID_JUICEFS_2" in stack.env else 1)

    before = stack.env["WVS_PID_EXECUTOR_2"]
    os.kill(int(before), signal.SIGKILL)
    wait_until(lambda: stack.env.get("WVS_PID_EXECUTOR_2", before) != before, limit=60, what="a new executor")
    for addr in addrs:
        wsid = next(name for name in map("apart-{}".format, range(1000)) if executor_of(name, addrs) == addr)
        make_workspace(stack, wsid)
        assert all((Path(mount) / wsid / "current").is_dir() for mount in mounts)
    assert stack.stop(process) == 0
    stack.assert_nothing_runs()


def test_without_fuse_the_stack_says_so_and_given_addresses_are_taken(stack: StackOnDisk) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    process = stack.up(WVS_STACK_FUSE="off", WVS_LISTEN_ADDR=address)
    assert "no JuiceFS volume here (WVS_STACK_FUSE=off)" in stack.output
    assert "WVS_PID_JUICEFS" not in stack.env
    assert stack.env["WVS_API_URL"] == f"http://{address}"
    make_workspace(stack, "plain")
    assert stack.stop(process) == 0


@pytest.mark.root
def test_where_nobody_cannot_enter_the_directory_the_database_lies_elsewhere_and_the_stack_says_so(
    stack: StackOnDisk,
) -> None:
    stack.state.parent.chmod(0o700)
    elsewhere = data_directory(stack.state).parent.parent
    assert elsewhere.parent == Path("/var/tmp")
    process = stack.command("up", EXECUTOR_MOUNT_PATH="/does/not/exist")  # PostgreSQL comes up before it fails
    assert process.wait(60) == 1
    assert f"its data is in {elsewhere}/postgres" in stack.output
    assert "postgres   up" in stack.output
    stack.assert_nothing_runs()
    shutil.rmtree(elsewhere)

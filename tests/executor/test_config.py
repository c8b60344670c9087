"""The executor refuses to start with settings that cannot work (SPEC §11; P1-06)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from executor.config import ExecutorConfigError, read_config
from tests.executor.scene import Site


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is set but what the test sets."""
    for name in [name for name in os.environ if name.startswith("EXECUTOR_")]:
        monkeypatch.delenv(name)


def test_the_defaults_are_those_of_the_specification() -> None:
    config = read_config()
    assert (config.mount_path, config.task_timeout, config.quiesce_timeout) == (Path("/ws"), 300.0, 30.0)
    assert (config.freeze_lease, config.freeze_max, config.clone_driver) == (10.0, 60.0, "auto")
    assert (config.agent_uid, config.agent_gid, config.verify_quiet) == (os.geteuid(), os.getegid(), "on")
    assert not config.protects_from_agent


@pytest.mark.rule("P1-06")
@pytest.mark.parametrize(("quiesce", "task"), [("300s", "300s"), ("301s", "300s"), ("5m", "4m59s"), ("1h", "300")])
def test_a_quiesce_time_out_that_is_not_smaller_than_the_tasks_is_refused(
    monkeypatch: pytest.MonkeyPatch, quiesce: str, task: str
) -> None:
    monkeypatch.setenv("EXECUTOR_QUIESCE_TIMEOUT", quiesce)
    monkeypatch.setenv("EXECUTOR_TASK_TIMEOUT", task)
    with pytest.raises(ExecutorConfigError, match=r"EXECUTOR_(QUIESCE|TASK)_TIMEOUT"):
        read_config()


@pytest.mark.rule("P1-06")
def test_a_smaller_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTOR_QUIESCE_TIMEOUT", "299.9s")
    monkeypatch.setenv("EXECUTOR_TASK_TIMEOUT", "5m")
    assert read_config().quiesce_timeout == 299.9


BAD = [
    ("EXECUTOR_TASK_TIMEOUT", "soon"),
    ("EXECUTOR_QUIESCE_TIMEOUT", "-1s"),
    ("EXECUTOR_QUIESCE_TIMEOUT", "0"),
    ("EXECUTOR_FREEZE_LEASE", ""),
    ("EXECUTOR_FREEZE_LEASE", "1s"),
    ("EXECUTOR_FREEZE_MAX", "500ms"),
    ("EXECUTOR_AGENT_UID", "nobody"),
    ("EXECUTOR_AGENT_UID", "-1"),
    ("EXECUTOR_AGENT_GID", "4294967295"),
    ("EXECUTOR_CLONE_DRIVER", "rsync"),
    ("EXECUTOR_CLONE_THREADS", "0"),
    ("EXECUTOR_CLONE_THREADS", "many"),
    ("EXECUTOR_VERIFY_QUIET", "maybe"),
    ("EXECUTOR_PRECOPY", "maybe"),
    ("EXECUTOR_MOUNT_PATH", "relative/path"),
    ("EXECUTOR_JUICEFS", "/no/such/program"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ExecutorConfigError, match=name):
        read_config()


def test_a_place_that_is_missing_or_no_directory_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "missing", tmp_path / "file"):
        for driver in ("auto", "copy", "reflink", "juicefs"):
            with pytest.raises(ExecutorConfigError, match="EXECUTOR_MOUNT_PATH"):
                Site(place, driver)
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208

"""The control plane's settings: defaults, bad values, secrets from files, exposure (SPEC §10, §11)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.addresses import Address
from wvs_project.config import Config, ConfigError, get_config, read_config
from wvs_project.http.checks import EXPOSED_ID, listeners_are_safe

REQUIRED = {"WVS_DB_DSN": "postgresql://x/wvs", "WVS_REDIS_URL": "redis://x/0", "WVS_SECRET_KEY": "s3cret"}
OURS = ("WVS_", "EXECUTOR_", "WORKER_")


@pytest.fixture
def environ() -> Iterator[pytest.MonkeyPatch]:
    """Only what is required is set; what is read is not kept."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(OURS)]:
            patch.delenv(name)
        for name, value in REQUIRED.items():
            patch.setenv(name, value)
        yield patch
    get_config.cache_clear()


def read(patch: pytest.MonkeyPatch, **values: str) -> Config:
    for name, value in values.items():
        patch.setenv(name, value)
    return read_config()


def test_what_nobody_sets_is_as_the_specification_says(environ: pytest.MonkeyPatch) -> None:
    config = read(environ)
    assert (str(config.listen_addr), str(config.metrics_addr)) == ("127.0.0.1:8080", "127.0.0.1:9090")
    assert (config.auth, config.insecure_allow_remote, config.log_level) == ("none", False, "info")
    assert (config.shutdown_timeout, config.worker_threads, config.worker_shutdown_timeout) == (30, 8, 120)
    assert (config.worker_poll_interval, config.worker_idle_backoff, config.worker_backoff_base) == (1, 5, 5)
    assert (config.sweep_interval, config.live_grace, config.task_retention) == (3600, 86400, 30 * 86400)


@pytest.mark.parametrize("name", list(REQUIRED))
def test_what_has_no_default_is_required_by_name(environ: pytest.MonkeyPatch, name: str) -> None:
    environ.delenv(name)
    with pytest.raises(ConfigError, match=name):
        read_config()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WVS_LISTEN_ADDR", "8080"),
        ("WVS_LISTEN_ADDR", "localhost"),
        ("WVS_LISTEN_ADDR", "localhost:99999"),
        ("WVS_LISTEN_ADDR", "localhost:80/x"),
        ("WVS_METRICS_ADDR", ""),
        ("WVS_SHUTDOWN_TIMEOUT", "soon"),
        ("WVS_SHUTDOWN_TIMEOUT", "0"),
        ("WVS_SHUTDOWN_TIMEOUT", "-5s"),
        ("WVS_LOG_LEVEL", "loud"),
        ("WVS_LOG_FORMAT", "xml"),
        ("WVS_AUTH", "basic"),
        ("WVS_INSECURE_ALLOW_REMOTE", "perhaps"),
        ("WORKER_THREADS", "many"),
        ("WORKER_THREADS", "0"),
        ("WVS_API_THREADS", "1"),
    ],
)
def test_a_bad_value_stops_the_start_with_its_name(environ: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        read(environ, **{name: value})


@pytest.mark.parametrize(("text", "seconds"), [("45", 45), ("45s", 45), ("2m", 120), ("1h", 3600), ("1.5s", 1.5)])
def test_durations_are_written_as_people_write_them(environ: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    assert read(environ, WVS_SHUTDOWN_TIMEOUT=text).shutdown_timeout == seconds


def test_a_secret_may_come_from_a_file(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    environ.delenv("WVS_SECRET_KEY")
    assert read(environ, WVS_SECRET_KEY_FILE=str(tmp_path / "key")).secret_key == "from-a-file"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:80", "::1", 80), ("Host.example:1", "host.example", 1)],
)
def test_an_address_is_read_and_written(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)
    assert str(Address(host, port)).lower() == text.lower()


LOOPBACK = ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "localhost:1"]
PUBLIC = [
    "0.0.0.0:1",
    "[::]:1",
    "10.0.0.1:1",
    "192.0.2.1:1",
    "wvs.example:1",
    "localhost.example:1",
    "[::ffff:10.0.0.1]:1",
]


@pytest.mark.rule("RK-05")
@pytest.mark.parametrize("name", ["WVS_LISTEN_ADDR", "WVS_METRICS_ADDR"])
@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_refused_while_nobody_logs_in(environ: pytest.MonkeyPatch, name: str, address: str) -> None:
    config = read(environ, **{name: address})
    with pytest.raises(ConfigError, match=f"{name}=.*WVS_INSECURE_ALLOW_REMOTE"):
        config.refuse_exposure()
    get_config.cache_clear()
    assert [error.id for error in listeners_are_safe()] == [EXPOSED_ID]


@pytest.mark.rule("RK-05")
@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_is_nobody_elses(environ: pytest.MonkeyPatch, address: str) -> None:
    read(environ, WVS_LISTEN_ADDR=address, WVS_METRICS_ADDR=address).refuse_exposure()
    get_config.cache_clear()
    assert listeners_are_safe() == []


@pytest.mark.rule("RK-05")
def test_the_operator_may_say_that_it_is_meant(environ: pytest.MonkeyPatch) -> None:
    public = {"WVS_LISTEN_ADDR": "0.0.0.0:1", "WVS_METRICS_ADDR": "0.0.0.0:1"}
    read(environ, **public, WVS_INSECURE_ALLOW_REMOTE="1").refuse_exposure()
    get_config.cache_clear()
    assert listeners_are_safe() == []


def test_finished_tasks_stay_for_the_idempotency_horizon(environ: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"WVS_TASK_RETENTION .* at least 7d"):
        read(environ, WVS_TASK_RETENTION="6d")
    assert read(environ, WVS_TASK_RETENTION="7d").task_retention == 7 * 86400


def test_a_tree_goes_before_the_task_that_tells_its_age(environ: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"WVS_LIVE_GRACE .* WVS_TASK_RETENTION"):
        read(environ, WVS_LIVE_GRACE="8d", WVS_TASK_RETENTION="7d")

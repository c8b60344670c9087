"""compose.yml starts what the embedded stack starts; nothing of it is open, rooted or guessable (SPEC §1, §10, §11)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from environs import FileAwareEnv

from executor.durations import parse_duration
from executor.service_config import read_service_config
from tests.deploy.installation import COMPOSE, compose, default_of, environment_of, images, services
from wvs_project.config import read_config
from wvs_project.stack.config import SOURCES
from wvs_project.stack.programs import API, EXECUTOR, MIGRATE, SCHEDULER, WORKER

COMMANDS = {"api": API, "worker": WORKER, "scheduler": SCHEDULER, "executor": EXECUTOR, "migrate": MIGRATE}
GA = {"vmauth", "vmalert", "alertmanager", "grafana"}
ALWAYS = {"minio", "pg-juicefs", "pg-wvs", "redis", *COMMANDS, "vmsingle", "vmagent"}
# SPEC §1: who may not reach whom.
FORBIDDEN = [
    *((control, store) for control in ("api", "worker", "scheduler", "migrate") for store in ("minio", "pg-juicefs")),
    *(("executor", store) for store in ("pg-wvs", "redis", "api")),
    ("api", "executor"),
    *(
        (watcher, store)
        for watcher in ("vmagent", "vmsingle", "grafana")
        for store in ("pg-wvs", "pg-juicefs", "redis", "minio")
    ),
    ("grafana", "vmsingle"),
]


def test_compose_accepts_the_file_and_has_every_service_of_the_specification() -> None:
    answer = compose("config", "--services")
    assert answer.returncode == 0, answer.stderr
    assert set(answer.stdout.split()) == ALWAYS
    assert set(services()) == ALWAYS | GA


def test_compose_refuses_a_key_that_its_schema_does_not_know(tmp_path: Path) -> None:
    wrong = yaml.safe_load(COMPOSE.read_text())
    wrong["services"]["api"]["heath_check"] = {}
    (tmp_path / "compose.yml").write_text(yaml.safe_dump(wrong))
    answer = compose("config", "--quiet", file=tmp_path / "compose.yml")
    assert answer.returncode != 0
    assert "heath_check" in answer.stderr


@pytest.mark.parametrize("service", COMMANDS)
def test_a_service_starts_what_the_embedded_stack_starts(service: str) -> None:
    assert services()[service]["command"] == ["python", *COMMANDS[service]]


@pytest.mark.parametrize("image", ["api", "worker", "executor"])
def test_an_image_starts_what_the_embedded_stack_starts(image: str) -> None:
    assert images()[image].command == ("python", *COMMANDS[image])
    assert services()[image]["build"]["target"] == image


@pytest.mark.parametrize("service", sorted(ALWAYS | GA))
def test_a_service_is_pinned_healthy_and_locked_down(service: str) -> None:
    said = services()[service]
    if "build" not in said:
        tag = said["image"].partition("@")[0].rpartition(":")[2]
        assert any(character.isdigit() for character in tag), said["image"]
    assert service == "migrate" or said["healthcheck"]["test"]
    assert said["read_only"] is True
    assert said["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in said["security_opt"]
    assert all(port["host_ip"] == "127.0.0.1" for port in said.get("ports", []))
    assert "privileged" not in said
    assert (said.get("profiles") == ["ga"]) is (service in GA)
    if service != "executor":
        assert int(said["user"].partition(":")[0]) > 0
        assert not said.keys() & {"cap_add", "devices"}


def test_the_executor_alone_has_fuse_and_the_right_to_mount() -> None:
    executor = services()["executor"]
    assert [device["source"] for device in executor["devices"]] == ["/dev/fuse"]
    assert "SYS_ADMIN" in executor["cap_add"]


@pytest.mark.parametrize(("one", "other"), FORBIDDEN)
def test_what_may_not_be_reached_shares_no_network(one: str, other: str) -> None:
    assert not services()[one]["networks"].keys() & services()[other]["networks"].keys()


def test_what_keeps_data_or_carries_orders_has_no_way_out() -> None:
    networks: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["networks"]
    assert {name for name, said in networks.items() if not said.get("internal")} == {
        "front",
        "observation",
        "dashboards",
    }
    shut_in = {"pg-wvs", "pg-juicefs", "redis", "minio", "migrate", "worker", "scheduler", "executor"}
    assert all(networks[name].get("internal") for service in shut_in for name in services()[service]["networks"])


@pytest.mark.parametrize("service", sorted(ALWAYS | GA))
def test_no_secret_is_in_the_environment_or_on_a_command_line(service: str) -> None:
    said = services()[service]
    names = {name.lower() for name in environment_of(service)}
    secret = [
        name for name in names if any(word in name for word in ("password", "secret", "_key", "dsn", "redis_url"))
    ]
    assert [name for name in secret if not name.endswith("_file")] == []
    given = {f"/run/secrets/{secret['source']}" for secret in said.get("secrets", [])}
    files = {value for name, value in environment_of(service).items() if name.endswith("_FILE")}
    assert {path for path in files if path.startswith("/run/secrets/")} <= given


def test_every_secret_is_a_file_that_the_operator_makes() -> None:
    secrets = yaml.safe_load(COMPOSE.read_text())["secrets"]
    assert all(set(said) == {"file"} for said in secrets.values())


@pytest.mark.parametrize("service", ["pg-wvs", "pg-juicefs"])
def test_both_databases_archive_their_wal_from_the_start(service: str) -> None:
    settings = [option for option in services()[service]["command"] if "=" in option]
    assert {"archive_mode=on", "archive_timeout=60"} <= set(settings)
    (command,) = (setting for setting in settings if setting.startswith("archive_command="))
    mounts = {volume["target"] for volume in services()[service]["volumes"]}
    assert {"/archive", "/etc/wvs/archive-wal.sh"} <= mounts
    assert "/etc/wvs/archive-wal.sh" in command


@pytest.mark.parametrize(
    ("service", "setting"),
    [
        ("api", "WVS_SHUTDOWN_TIMEOUT"),
        ("worker", "WORKER_SHUTDOWN_TIMEOUT"),
        ("scheduler", "WORKER_SHUTDOWN_TIMEOUT"),
        ("executor", "EXECUTOR_SHUTDOWN_TIMEOUT"),
    ],
)
def test_nobody_is_killed_while_it_still_has_time_to_finish(service: str, setting: str) -> None:
    grace = sum(
        int(number) * {"m": 60, "s": 1}[unit]
        for number, unit in zip(*[iter(_parts(services()[service]["stop_grace_period"]))] * 2, strict=True)
    )
    assert grace > parse_duration(environment_of(service)[setting])


def _parts(duration: str) -> list[str]:
    """`2m30s` → 2, m, 30, s: how compose writes durations."""
    return duration.replace("m", " m ").replace("s", " s ").split()


@pytest.mark.parametrize("service", ["api", "worker", "scheduler", "migrate"])
def test_the_control_plane_accepts_its_settings(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(service, tmp_path, monkeypatch)
    config = read_config(FileAwareEnv(strip_whitespace=True))
    assert config.db_dsn == "the wvs_db_dsn"
    config.refuse_exposure()
    health = services()[service].get("healthcheck", {}).get("test", [""])[-1]
    assert service == "migrate" or f":{config.metrics_addr.port}/readyz" in health


def test_the_executor_accepts_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place("executor", tmp_path, monkeypatch)
    config = read_service_config(FileAwareEnv(strip_whitespace=True))
    assert config.volume is not None
    assert config.volume.meta_password == "the juicefs_meta_password"
    assert config.volume.store is not None
    assert str(config.grpc_addr.port) == environment_of("worker")["EXECUTOR_ADDRS"].partition(":")[2]


def put_in_place(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's environment is this process's, its secrets files that say their name."""
    for name in ("WVS_DB_DSN", "WVS_REDIS_URL", "WVS_SECRET_KEY", "EXECUTOR_ADDRS", "EXECUTOR_MOUNT_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment_of(service).items():
        if name.endswith("_FILE"):
            secret = tmp_path / Path(value).name
            secret.write_text(f"the {secret.name}")
            value = str(secret)
        monkeypatch.setenv(name, default_of(value))


def test_the_example_environment_names_every_variable_of_compose_and_its_default() -> None:
    lines = (SOURCES / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    answer = compose("--profile", "ga", "config", "--variables")
    assert answer.returncode == 0, answer.stderr
    rows = [line.split() for line in answer.stdout.splitlines()[1:]]
    assert example == {name: default for name, _, default in rows}

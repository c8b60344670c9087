"""The control plane's one reader of the environment (SPEC §11): typed, validated, frozen.

A bad value stops the start with the variable's name and the reason. `X_FILE` reads X from a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from environs import EnvError, FileAwareEnv
from marshmallow.validate import OneOf

from executor.addresses import Address
from executor.durations import parse_duration
from observation.confidential import passwords_in
from observation.config import traces_exporter

LOG_LEVELS: Final = ("debug", "info", "warning", "error")


class ConfigError(Exception):
    """A setting is missing or unusable; the message names it and says what it takes."""


@dataclass(frozen=True, slots=True)
class Config:
    """What every control plane process reads. Durations are seconds."""

    db_dsn: str
    redis_url: str
    secret_key: str
    allowed_hosts: tuple[str, ...]
    auth: str
    insecure_allow_remote: bool
    behind_tls: bool
    """A proxy of ours ends TLS in front of the API, and says so in X-Forwarded-Proto and X-Forwarded-For."""
    listen_addr: Address
    metrics_addr: Address
    log_level: str
    log_format: str
    traces: str
    """none, console or otlp."""
    shutdown_timeout: float
    executor_addrs: tuple[str, ...]
    worker_threads: int
    worker_poll_interval: float
    worker_idle_backoff: float
    worker_backoff_base: float
    worker_shutdown_timeout: float
    sweep_interval: float
    live_grace: float
    """How long a live tree stays after it was switched away from."""
    task_retention: float
    """How long finished tasks stay; the horizon within which an Idempotency-Key is known."""
    api_threads: int
    failpoints: str

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be written anywhere."""
        return (self.secret_key, *passwords_in(self.db_dsn), *passwords_in(self.redis_url))

    @property
    def has_secure_cookies(self) -> bool:
        """Whether a login's cookies travel over TLS alone: everywhere but on plain loopback (docs/adr/0016)."""
        return self.behind_tls or not self.listen_addr.is_loopback

    def exposed_listeners(self) -> list[str]:
        """The listeners that somebody off this machine can reach though authentication is off (RK-05)."""
        if self.auth != "none" or self.insecure_allow_remote:
            return []
        listeners = {"WVS_LISTEN_ADDR": self.listen_addr, "WVS_METRICS_ADDR": self.metrics_addr}
        return [f"{name}={address}" for name, address in listeners.items() if not address.is_loopback]

    def refuse_exposure(self) -> None:
        """Raise ConfigError if an unauthenticated listener is not on loopback (SPEC §10, RK-05)."""
        exposed = self.exposed_listeners()
        if exposed:
            raise ConfigError(
                f"{', '.join(exposed)}: WVS_AUTH=none may listen on loopback only. Bind to 127.0.0.1, "
                "or set WVS_INSECURE_ALLOW_REMOTE=1 if something else protects it."
            )


LEAST_RETENTION: Final = 7 * 86400.0
"""Seconds for which a client may count on its Idempotency-Key (SPEC §11)."""
_SETTABLE_OFF: Final = "none"


def read_config(env: FileAwareEnv | None = None) -> Config:
    """Read and check the environment. Raises ConfigError."""
    env = env or FileAwareEnv(strip_whitespace=True)
    try:
        config = _read(env)
    except (EnvError, ValueError) as error:
        raise ConfigError(str(error)) from None
    if config.worker_threads < 1:
        raise ConfigError("WORKER_THREADS must be at least 1")
    if config.task_retention < LEAST_RETENTION:
        raise ConfigError(
            f"WVS_TASK_RETENTION ({config.task_retention:g} s) must be at least 7d: "
            "until then a client may repeat a request with its Idempotency-Key"
        )
    if config.live_grace >= config.task_retention:
        raise ConfigError(
            f"WVS_LIVE_GRACE ({config.live_grace:g} s) must be shorter than WVS_TASK_RETENTION "
            f"({config.task_retention:g} s): the task that switched away from a tree tells when that was"
        )
    if config.api_threads < 2:
        raise ConfigError("WVS_API_THREADS must be at least 2")
    return config


def _seconds(env: FileAwareEnv, name: str, default: str) -> float:
    try:
        return parse_duration(env.str(name, default))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None


def _address(env: FileAwareEnv, name: str, default: str) -> Address:
    try:
        return Address.parse(env.str(name, default))
    except ValueError as error:
        raise ConfigError(f"{name}={error}") from None


def _read(env: FileAwareEnv) -> Config:
    return Config(
        db_dsn=env.str("WVS_DB_DSN"),
        redis_url=env.str("WVS_REDIS_URL"),
        secret_key=env.str("WVS_SECRET_KEY"),
        allowed_hosts=tuple(env.list("WVS_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])),
        auth=env.str("WVS_AUTH", _SETTABLE_OFF, validate=OneOf([_SETTABLE_OFF])),
        insecure_allow_remote=env.bool("WVS_INSECURE_ALLOW_REMOTE", False),
        behind_tls=env.bool("WVS_BEHIND_TLS", False),
        listen_addr=_address(env, "WVS_LISTEN_ADDR", "127.0.0.1:8080"),
        metrics_addr=_address(env, "WVS_METRICS_ADDR", "127.0.0.1:9090"),
        log_level=env.str("WVS_LOG_LEVEL", "info", validate=OneOf(LOG_LEVELS)),
        log_format=env.str("WVS_LOG_FORMAT", "auto", validate=OneOf(("auto", "json", "console"))),
        traces=traces_exporter(env),
        shutdown_timeout=_seconds(env, "WVS_SHUTDOWN_TIMEOUT", "30s"),
        executor_addrs=tuple(env.list("EXECUTOR_ADDRS", [])),
        worker_threads=env.int("WORKER_THREADS", 8),
        worker_poll_interval=_seconds(env, "WORKER_POLL_INTERVAL", "1s"),
        worker_idle_backoff=_seconds(env, "WORKER_IDLE_BACKOFF", "5s"),
        worker_backoff_base=_seconds(env, "WORKER_BACKOFF_BASE", "5s"),
        worker_shutdown_timeout=_seconds(env, "WORKER_SHUTDOWN_TIMEOUT", "120s"),
        sweep_interval=_seconds(env, "WVS_SWEEP_INTERVAL", "1h"),
        live_grace=_seconds(env, "WVS_LIVE_GRACE", "24h"),
        task_retention=_seconds(env, "WVS_TASK_RETENTION", "30d"),
        api_threads=env.int("WVS_API_THREADS", 128),
        failpoints=env.str("WVS_FAILPOINTS", ""),
    )


@cache
def get_config() -> Config:
    """The configuration of this process, read once."""
    return read_config()

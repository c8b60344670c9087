"""What `python -m executor` reads besides the executor's own settings (SPEC §11): typed, validated, frozen. Seconds.

A bad value stops the start with the variable's name and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from environs import EnvError, FileAwareEnv
from marshmallow.validate import OneOf

from executor.addresses import Address
from executor.config import ExecutorConfig, ExecutorConfigError, read_config
from executor.durations import parse_duration
from executor.tls import Tls, insecure_remote_allowed, read_tls
from observation.config import traces_exporter

_NOT_OURS: Final = ("WVS_DB_DSN", "WVS_REDIS_URL", "WVS_SECRET_KEY")
_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, repr=False)
class ObjectStore:
    """Where a volume keeps its data, for the one that makes it."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str


@dataclass(frozen=True, slots=True, repr=False)
class OwnVolume:
    """The volume that this executor mounts by itself."""

    meta_url: str
    """Without its password."""
    meta_password: str
    store: ObjectStore | None
    """Given: the volume is made if it is not there."""
    metrics_addr: Address | None = None
    """Where the mount shows its own metrics; None: where JuiceFS does by itself, 127.0.0.1:9567."""


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What the service needs to know."""

    executor: ExecutorConfig
    grpc_addr: Address
    metrics_addr: Address
    shutdown_timeout: float
    """How long running tasks may go on after SIGTERM."""
    tls: Tls | None
    volume: OwnVolume | None
    """None: somebody else mounts."""
    log_level: str
    log_format: str
    traces: str
    """none, console or otlp."""
    failpoints: str

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be written anywhere."""
        volume = self.volume
        if volume is None:
            return ()
        store = volume.store
        return (volume.meta_password, *((store.access_key, store.secret_key) if store else ()))


def read_service_config(env: FileAwareEnv | None = None) -> ServiceConfig:
    """Read and check the environment. Raises ExecutorConfigError."""
    env = env or FileAwareEnv(strip_whitespace=True)
    executor = read_config(env)
    try:
        _refuse_credentials(env)
        config = _read(env, executor)
    except (EnvError, ValueError) as error:
        raise ExecutorConfigError(str(error)) from None
    if not insecure_remote_allowed(env):
        _refuse_exposure(config)
    return config


def _refuse_credentials(env: FileAwareEnv) -> None:
    """The execution plane reaches neither PostgreSQL nor Redis of the control plane, nor could it (SPEC §1)."""
    given = [name for name in _NOT_OURS if env.str(name, "")]
    if given:
        raise ExecutorConfigError(
            f"{', '.join(given)} in the executor's environment: the execution plane must not be able to reach the "
            "control plane's stores. Take it out of this process's environment."
        )


def _refuse_exposure(config: ServiceConfig) -> None:
    """Raise ExecutorConfigError for what somebody off this machine can reach unauthenticated (SPEC §7, §10)."""
    exposed = [] if config.tls or config.grpc_addr.is_loopback else [f"EXECUTOR_GRPC_ADDR={config.grpc_addr}"]
    if not config.metrics_addr.is_loopback:
        exposed.append(f"EXECUTOR_METRICS_ADDR={config.metrics_addr}")
    of_mount = config.volume.metrics_addr if config.volume else None
    if of_mount is not None and not of_mount.is_loopback:
        exposed.append(f"JFS_METRICS_ADDR={of_mount}")
    if exposed:
        raise ExecutorConfigError(
            f"{', '.join(exposed)}: plaintext is for loopback only. Bind to 127.0.0.1, or give EXECUTOR_TLS_CA, "
            "EXECUTOR_TLS_CERT and EXECUTOR_TLS_KEY (gRPC), or set EXECUTOR_INSECURE_ALLOW_REMOTE=1 if something else "
            "protects it."
        )


def _read(env: FileAwareEnv, executor: ExecutorConfig) -> ServiceConfig:
    return ServiceConfig(
        executor=executor,
        grpc_addr=_address(env, "EXECUTOR_GRPC_ADDR", "127.0.0.1:7070"),
        metrics_addr=_address(env, "EXECUTOR_METRICS_ADDR", "127.0.0.1:9092"),
        shutdown_timeout=_seconds(env, "EXECUTOR_SHUTDOWN_TIMEOUT", "300s"),
        tls=read_tls(env),
        volume=_volume(env),
        log_level=env.str("WVS_LOG_LEVEL", "info", validate=OneOf(_LEVELS)),
        log_format=env.str("WVS_LOG_FORMAT", "auto", validate=OneOf(("json", "console", "auto"))),
        traces=traces_exporter(env),
        failpoints=env.str("WVS_FAILPOINTS", ""),
    )


def _address(env: FileAwareEnv, name: str, default: str) -> Address:
    try:
        return Address.parse(env.str(name, default))
    except ValueError as error:
        raise ExecutorConfigError(f"{name}={error}") from None


def _seconds(env: FileAwareEnv, name: str, default: str) -> float:
    try:
        return parse_duration(env.str(name, default))
    except ValueError as error:
        raise ExecutorConfigError(f"{name}: {error}") from None


def _volume(env: FileAwareEnv) -> OwnVolume | None:
    given = env.str("JFS_META_URL", "")
    if not given:
        return None
    meta_url, password = split_password(given)
    metrics = "JFS_METRICS_ADDR"
    shown_at = _address(env, metrics, "") if env.str(metrics, "") else None
    return OwnVolume(meta_url, env.str("META_PASSWORD", "") or password, _store(env), shown_at)


def _store(env: FileAwareEnv) -> ObjectStore | None:
    endpoint = env.str("MINIO_ENDPOINT", "")
    if not endpoint:
        return None
    keys = {name: env.str(name, "") for name in ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")}
    missing = [name for name, value in keys.items() if not value]
    if missing:
        raise ExecutorConfigError(f"{', '.join(missing)} missing: MINIO_ENDPOINT={endpoint} needs both keys")
    return ObjectStore(endpoint, env.str("MINIO_BUCKET", "jfs-data"), *keys.values())


def split_password(url: str) -> tuple[str, str]:
    """The URL without its password, and the password: arguments of a process can be read by everybody."""
    parts = urlsplit(url)
    if parts.password is None:
        return url, ""
    user, _, _ = parts.netloc.rpartition("@")[0].partition(":")
    host = parts.netloc.rpartition("@")[2]
    bare = parts._replace(netloc=f"{user}@{host}" if user else host)
    return urlunsplit(bare), unquote(parts.password)

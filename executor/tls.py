"""Mutual TLS between workers and executors by three settings, the same names on both sides (SPEC §7, §10)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from environs import EnvError, FileAwareEnv

from executor.config import ExecutorConfigError

_NAMES: Final = ("EXECUTOR_TLS_CA", "EXECUTOR_TLS_CERT", "EXECUTOR_TLS_KEY")
_PEM: Final = b"-----BEGIN "


@dataclass(frozen=True, slots=True, repr=False)
class Tls:
    """What one side shows and whom it believes; PEM."""

    ca: bytes
    """Who signs the other side's certificate."""
    certificate: bytes
    key: bytes

    def for_server(self) -> grpc.ServerCredentials:
        """Nobody is served without a certificate that the CA signed."""
        return grpc.ssl_server_credentials([(self.key, self.certificate)], self.ca, require_client_auth=True)

    def for_channel(self) -> grpc.ChannelCredentials:
        """The executor's certificate must be signed by the CA and name the host of its address."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)


def read_tls(env: FileAwareEnv | None = None) -> Tls | None:
    """The three files; None if none is given. Raises ExecutorConfigError when some are, or one is no PEM."""
    env = env or FileAwareEnv(strip_whitespace=True)
    try:
        given = {name: env.str(name, "") for name in _NAMES}
    except EnvError as error:
        raise ExecutorConfigError(str(error)) from None
    if not any(given.values()):
        return None
    missing = [name for name, path in given.items() if not path]
    if missing:
        raise ExecutorConfigError(f"{', '.join(missing)} missing: mutual TLS takes {', '.join(_NAMES)}, all three")
    ca, certificate, key = (_pem(name, Path(path)) for name, path in given.items())
    return Tls(ca, certificate, key)


def insecure_remote_allowed(env: FileAwareEnv | None = None) -> bool:
    """EXECUTOR_INSECURE_ALLOW_REMOTE: plaintext off loopback, because something else protects it.

    Raises ExecutorConfigError for a value that is neither yes nor no.
    """
    try:
        return (env or FileAwareEnv(strip_whitespace=True)).bool("EXECUTOR_INSECURE_ALLOW_REMOTE", False)
    except EnvError as error:
        raise ExecutorConfigError(str(error)) from None


def _pem(name: str, path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExecutorConfigError(f"{name}={path}: {error.strerror}") from None
    if _PEM not in content:
        raise ExecutorConfigError(f"{name}={path} holds no PEM")
    return content

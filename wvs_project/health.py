"""Health and metrics on a port of their own, for every control plane process (SPEC §4, §11).

`/healthz`: the process answers. `/readyz`: what it needs answers too, else 503 that says what is down.
`/metrics`: Prometheus. It runs in threads of its own, so it answers however busy the process is.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import psycopg
import redis
import structlog
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from redis.backoff import NoBackoff
from redis.retry import Retry

from executor.addresses import Address
from wvs_project.config import Config
from wvs_project.db import direct_conninfo

_BACKLOG: Final = 64
_CLIENT_SECONDS: Final = 10
_REDIS_SECONDS: Final = 1.0

Check = Callable[[], None]
"""Returns when the thing answers, raises when it does not; takes 2 s at most."""

log = structlog.get_logger(__name__)


def checks_for(config: Config) -> dict[str, Check]:
    """What every control plane process needs: PostgreSQL and Redis."""
    return {"postgres": _check_postgres, "redis": partial(_check_redis, config.redis_url)}


def _check_postgres() -> None:
    # Past the pool: a busy pool is not a database that is down.
    conninfo = direct_conninfo(application_name="wvs-health")
    with psycopg.connect(conninfo, connect_timeout=2, autocommit=True) as probe:
        probe.execute("SELECT 1")


def _check_redis(url: str) -> None:
    client = redis.Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
    )
    try:
        client.ping()
    finally:
        client.close()


def open_listener(address: Address) -> socket.socket:
    """A listening socket. Raises OSError when the address is taken."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)


class HealthServer:
    """A running health server; `close()` ends it."""

    def __init__(self, listener: socket.socket, checks: Mapping[str, Check]) -> None:
        self._server = ThreadingHTTPServer(
            listener.getsockname()[:2], partial(_Handler, checks), bind_and_activate=False
        )
        self._server.socket.close()
        self._server.socket = listener
        self.port: int = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="wvs-health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def start_health_server(
    address: Address, checks: Mapping[str, Check], *, listener: socket.socket | None = None
) -> HealthServer:
    """Serve health and metrics at `address`, or on a socket that listens already. Raises OSError."""
    return HealthServer(listener or open_listener(address), checks)


def readiness(checks: Mapping[str, Check]) -> tuple[bool, dict[str, str]]:
    """Whether all checks pass, and what each says."""
    said: dict[str, str] = {}
    for name, check in checks.items():
        try:
            check()
        except Exception as error:  # whatever it is, it is not ready
            said[name] = f"down: {error}".splitlines()[0]
            log.warning("readyz.down", check=name, error=str(error))
        else:
            said[name] = "ok"
    return all(answer == "ok" for answer in said.values()), said


class _Handler(BaseHTTPRequestHandler):
    timeout = _CLIENT_SECONDS

    def __init__(self, checks: Mapping[str, Check], *args: Any) -> None:
        self._checks = checks
        super().__init__(*args)

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/healthz":
                self._json(HTTPStatus.OK, {"status": "ok"})
            case "/readyz":
                ready, said = readiness(self._checks)
                status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
                self._json(status, {"ready": ready, "checks": said})
            case "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._send(HTTPStatus.OK, content_type, encode(REGISTRY))
            case _:
                self._json(HTTPStatus.NOT_FOUND, {"error": "here are /healthz, /readyz and /metrics"})

    do_HEAD = do_GET  # noqa: N815 — the name that the base class looks for

    def _json(self, status: HTTPStatus, body: Mapping[str, object]) -> None:
        self._send(status, "application/json", json.dumps(body).encode() + b"\n")

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "wvs"

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("health.request", line=format % args)
